import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

import fastload
from fastload.synth import synth
from fastload_kernels import Scaling
from ssl4eo_train import data, knn, watching
from ssl4eo_train.__main__ import main
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.methods import Learner
from ssl4eo_train.tracking import NAME, Tracker, read
from ssl4eo_train.watching import GAP, PAPER, Picture, Watcher

pytestmark = pytest.mark.timeout(120)

LOCATIONS, PIXELS, SIDE, BATCH = 16, 24, 16, 4
MODALITIES = ["S2L1C", "S1GRD", "S2RGB"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, LOCATIONS, modalities=MODALITIES, size=PIXELS)


def opened(root: Path, out: Path, **given: Any) -> tuple[Config, fastload.SSL4EOS12]:
    words = {"device": "cpu", "data": str(root), "image_size": SIDE, "out": str(out), **given}
    config = resolve({"workers": 1, **words}, None, World())
    recipe = data.wanted(config, False)
    return config, fastload.SSL4EOS12(
        root, modalities=config.modality, recipe=recipe, progress=False
    )


@pytest.fixture
def watcher(scenes: Path, tmp_path: Path) -> Iterator[Watcher]:
    tracker = Tracker(tmp_path, 0, 9)
    yield Watcher(*opened(scenes, tmp_path, modality=["S2L1C"]), tracker)
    tracker.close()


class Banded(Learner):
    """A backbone that has all that a look could disturb."""

    def __init__(self, bands: int = 13) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(bands, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Dropout(),
        )  # fmt: skip

    @property
    def backbone(self) -> nn.Module:
        return self.network


def test_a_row_shares_its_limits_and_other_rows_have_their_own() -> None:
    """One sample from 0 to 100, the other ten times brighter, in two views; one is half as bright.

    By hand: quantiles 2 % and 98 % of {0, 100} and {0, 50} together are 0 and 100.
    """
    ramp = np.zeros((2, 3, 4, 4), np.float32)
    ramp[0, :, 2:], ramp[1, :, 2:] = 100, 1000
    image = watching.draw(Picture("x", ("a", "b", "c")), [ramp, ramp / 2], ["a", "b", "c"])
    assert image.shape == (3, 4 + GAP + 4, 4 + GAP + 4)
    for top in (0, 4 + GAP):
        assert (image[:, top : top + 2, :4] == 0).all()
        assert (image[:, top + 2 : top + 4, :4] == 255).all()
        assert (image[:, top + 2 : top + 4, 4 + GAP :] == 128).all()
    assert (image[:, 4 : 4 + GAP] == PAPER).all()
    assert (image[:, :, 4 : 4 + GAP] == PAPER).all()


def test_quantiles_are_shared_by_bands_or_not() -> None:
    x = np.stack([np.linspace(0, v, 1000, dtype=np.float32) for v in (1, 2, 4)]).reshape(3, 10, 100)
    joint = watching.limits(Picture("x", ("a", "b", "c")), [x])
    assert joint.shape == (2, 1, 1, 1)
    assert joint.ravel() == pytest.approx(np.quantile(x, [0.02, 0.98]))
    apart = watching.limits(Picture("x", ("a", "b", "c"), together=False), [x])
    assert apart.shape == (2, 3, 1, 1)
    assert apart[..., 0, 0] == pytest.approx(np.array([[0.02, 0.04, 0.08], [0.98, 1.96, 3.92]]))
    assert watching.limits(Picture("x", ("R", "G", "B"), (0, 255)), [x]) == (0, 255)


def test_small_views_stand_on_paper() -> None:
    large, small = np.ones((1, 1, 6, 6), np.float32), np.zeros((1, 1, 2, 3), np.float32)
    image = watching.draw(Picture("x", ("a",) * 3), [large, small], ["a"])
    assert image.shape == (3, 6, 6 + GAP + 6)
    right = image[:, :, 6 + GAP :]
    assert (right[:, :2, :3] == 0).all()
    assert (right[:, 2:] == PAPER).all()
    assert (right[:, :, 3:] == PAPER).all()


def test_radiometry_is_undone_and_the_ratio_is_a_difference_of_decibels() -> None:
    scaling = Scaling.make([-20.0, -30.0], [0.05, 0.04], 0, 1)
    x = np.array([-11.0, -17.0], np.float32).reshape(1, 2, 1, 1)
    y = (x.ravel() - scaling.offset) * scaling.scale
    back = watching.undo(y.reshape(1, 2, 1, 1).astype(np.float32), scaling)
    assert back == pytest.approx(x)
    assert watching.with_ratio(back, ["vv", "vh"]).ravel() == pytest.approx([-11, -17, 6])
    assert watching.with_ratio(back, ["a", "b"]) is back


def test_bands_are_found_by_name() -> None:
    bands = ("B01", "B02", "B03", "B04", "B08")
    assert [p.name for p in watching.pictures_of(bands)] == ["true colour", "false colour"]
    assert [p.name for p in watching.pictures_of(("vv", "vh"))] == ["VV, VH, ratio"]
    assert [p.bands for p in watching.pictures_of(("R", "G", "B"))] == [("R", "G", "B")]
    assert [p.bands for p in watching.pictures_of(("elevation",))] == [("elevation",) * 3]


@pytest.mark.parametrize("seasons", [None, "all"])
def test_images_show_the_bands_that_they_say(
    scenes: Path, tmp_path: Path, seasons: str | None
) -> None:
    config, dataset = opened(scenes, tmp_path, modality=MODALITIES, seasons=seasons)
    watcher = Watcher(config, dataset, Tracker(None, 0, 1))
    dates = 4 if seasons else 1
    B, C = 2, dates * (13 + 2 + 3)
    names = dataset.modalities["S2L1C"].band_names
    blue = torch.zeros(B, C, 8, 8)
    blue[:, [d * 13 + names.index("B02") for d in range(dates)], 4:] = 1
    images = watcher.images([blue, blue])
    assert {name: image.shape for name, image in images.items()} == dict.fromkeys(
        [
            *("S2L1C/true colour", "S2L1C/false colour"),
            *("S1GRD/VV, VH, ratio", "S2RGB/as stored"),
        ],
        (3, 8 + GAP + 8, 2 * dates * (8 + GAP) - GAP),
    )
    true, false = images["S2L1C/true colour"], images["S2L1C/false colour"]
    for d in range(2 * dates):
        cell = true[:, :8, d * (8 + GAP) :][..., :8]
        assert (cell[2, 4:] == 255).all()
        assert (cell[2, :4] == 0).all()
        assert (cell[:2] == 0).all()
        assert (false[:, :8, d * (8 + GAP) :][..., :8] == 0).all()
    rgb = torch.zeros(B, C, 8, 8)
    rgb[:, dates * 15 :] = 100 / 255
    assert (watcher.images([rgb])["S2RGB/as stored"][:, :8, :8] == 100).all()


def test_a_look_is_written_and_disturbs_nothing(watcher: Watcher, tmp_path: Path) -> None:
    model = Banded()
    views = [torch.rand(6, 13, 8, 8)] * 2
    before = {name: x.clone() for name, x in model.state_dict().items()}
    state = torch.get_rng_state()
    for step in (4, 8):
        watcher.look(model, views, step)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    assert all(module.training for module in model.modules())
    rows = list(read(tmp_path / watching.NAME))
    assert [row["step"] for row in rows] == [4, 8]
    assert rows[0]["knn"] == rows[1]["knn"]
    watcher._events.flush()  # type: ignore[union-attr]
    events = EventAccumulator(str(tmp_path), {"images": 0, "scalars": 0}).Reload()
    assert {e.step: e.value for e in events.Scalars("knn")} == pytest.approx(
        {row["step"]: row["knn"] for row in rows}
    )
    pictures = events.Images("S2L1C/true colour")
    assert [p.step for p in pictures] == [4, 8]
    size = (8 + GAP + 8, watching.SAMPLES * (8 + GAP) - GAP)
    assert (pictures[0].width, pictures[0].height) == size


def test_rows_of_a_run_that_was_stopped_later_are_replaced(
    watcher: Watcher, tmp_path: Path
) -> None:
    path = tmp_path / watching.NAME
    path.write_text('{"step": 4, "knn": -1}\n{"step": 8, "knn": -1}\n{"step": 1')
    watcher.look(Banded(), [torch.rand(1, 13, 8, 8)], 8)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["knn"] >= 0) for row in rows] == [(4, False), (8, True)]


def test_other_processes_write_nothing(scenes: Path, tmp_path: Path) -> None:
    config, dataset = opened(scenes, tmp_path)
    Watcher(config, dataset, Tracker(None, 0, 1)).look(Banded(), [torch.rand(1, 13, 8, 8)], 1)
    assert not list(tmp_path.iterdir())


def test_watched_runs_log_the_same_losses(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With looks, without them, and resumed between two looks: to the last digit."""

    def losses(out: str, *more: str) -> list[float]:
        line = [
            *("--data", str(scenes), "--out", str(tmp_path / out), "--arch", "test_resnet"),
            *("--image-size", "16", "--batch-size", str(BATCH), "--set", "queue=8"),
            *("--device", "cpu", "--workers", "1", *more),
        ]
        assert main(line) == 0
        return [row["loss"] for row in read(tmp_path / out / NAME)]

    whole = losses("whole", "--steps", "10")
    assert len(set(whole)) == 10
    losses("parts", "--steps", "6")
    assert losses("parts", "--steps", "10", "--resume") == whole
    looks = [list(read(tmp_path / out / watching.NAME)) for out in ("whole", "parts")]
    assert [row["step"] for row in looks[0]] == [4, 8, 10]
    # A run that ends within an epoch looks at its end, too.
    assert [row for row in looks[1] if row["step"] != 6] == looks[0]
    monkeypatch.setattr(Watcher, "look", lambda *_: None)
    assert losses("unwatched", "--steps", "10") == whole
    assert not (tmp_path / "unwatched" / watching.NAME).exists()
    assert knn.probe(*opened(scenes, tmp_path)) is not None
