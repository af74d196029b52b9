"""``profile``: the rule over made situations, and measured runs of which the floor is known."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fastload
from fastload import Radiometry, Recipe, View
from fastload.cli import main
from fastload.profiling import Situation, advise, measure
from fastload.profiling.rule import together
from fastload.recipes import RECIPES, recipe_of
from tests.conformance import toys
from tests.conformance.toy import Memory, npy
from tests.fastload import made
from tests.fastload.slow_store import Slow

SMALL = Recipe((View(size=16),), Radiometry.reflectance())
SITUATION = Situation(
    loader=90.0,
    consumer=None,
    floors={"storage": 1000.0, "decode": 400.0, "views": 900.0, "memory": 5000.0},
    workers=2,
    processors=8,
    more_readers=1100.0,
    in_order=1200.0,
)


def situation(workers: int = 2, loader: float | None = None, **changed: Any) -> Situation:
    floors = dict(SITUATION.floors)
    floors |= {name: changed.pop(name) for name in list(changed) if name in floors}
    made = replace(SITUATION, workers=workers, floors=floors, **changed)
    return replace(made, loader=0.9 * together(made) if loader is None else loader)


@pytest.mark.parametrize(
    ("given", "floor", "setting"),
    [
        (situation(), "decode", "num_workers 2 -> 8"),
        (situation(0), "decode", "num_workers 0 -> 8"),
        (situation(8, gpu=True), "decode", "device cpu -> cuda"),
        (situation(8, codec="blosc zstd"), "decode", "pack with lz4 (blosc zstd -> lz4)"),
        (situation(8), "decode", "pack with the bands that are used (all -> chosen)"),
        (situation(views=50.0), "views", "num_workers 2 -> 8"),
        (situation(8, views=50.0, gpu=True), "views", "device cpu -> cuda"),
        (situation(8, views=50.0), "views", "the recipe -> smaller views or fewer operations"),
        (situation(storage=50.0, in_order=2000.0), "storage", "shuffle_window 0 -> 4"),
        (situation(storage=50.0, shuffle_window=4), "storage", "num_workers 2 -> 8"),
        (situation(storage=50.0, in_order=60.0), "storage", "num_workers 2 -> 8"),
        (
            situation(storage=50.0, in_order=55.0, more_readers=52.0),
            "storage",
            "pack with zstd (blosc lz4 -> zstd)",
        ),
        (
            situation(storage=50.0, in_order=55.0, more_readers=52.0, codec="blosc zstd"),
            "storage",
            "the place of the data -> a faster disk",
        ),
        (situation(memory=50.0), "memory", "the recipe's dtype float32 -> float16"),
        (situation(memory=50.0, dtype="float16"), "memory", ""),
        (situation(consumer=95.0, loader=90.0), "consumer", ""),
        (situation(consumer=9500.0), "decode", "num_workers 2 -> 8"),
        (situation(8, loader=10.0), "decode", "prefetch_factor 2 -> 4"),
        (situation(storage=None, views=100.0), "views", "num_workers 2 -> 8"),
    ],
)
def test_the_rule(given: Situation, floor: str, setting: str) -> None:
    found = advise(given)
    assert (found.floor, found.setting) == (floor, setting)
    assert found.floor in str(found)
    assert found.reason


def test_a_throttled_store_is_the_floor() -> None:
    dataset = fastload.open(Slow(made.root()), recipe=SMALL, progress=False)
    found = measure(dataset, seconds=0.4, batch_size=4, num_workers=2)
    s = found.situation
    assert found.advice.floor == "storage"
    # 20 ms a read, two at a time: 100 a second at the most, and four times the readers help.
    assert 0 < (s.floors["storage"] or 0) <= 100
    assert s.more_readers is not None
    assert s.more_readers > 2 * (s.floors["storage"] or 0)
    assert found.advice.setting == "num_workers 2 -> 8"
    assert s.loader <= 120


def test_a_heavy_recipe_is_the_floor() -> None:
    heavy = View(
        size=384, scale=(0.5, 1.0), blur=1.0, jitter=1.0, contrast=0.4, interpolation="bicubic"
    )
    dataset = made.dataset(Recipe((heavy, heavy), Radiometry.reflectance()))
    found = measure(dataset, seconds=0.5, batch_size=4, num_workers=2)
    assert found.advice.floor == "views"
    views, decode = found.situation.floors["views"], found.situation.floors["decode"]
    assert views is not None
    assert decode is not None
    assert decode > 4 * views


def test_a_slow_consumer_is_the_floor() -> None:
    found = measure(
        made.dataset(SMALL),
        seconds=0.5,
        batch_size=4,
        num_workers=2,
        consumer=lambda batch: time.sleep(0.05),
    )
    assert found.advice.floor == "consumer"
    assert found.situation.consumer is not None
    assert found.situation.consumer <= 80  # 4 samples in 50 ms
    assert found.replay > found.situation.loader


def test_raw_pixels_have_no_views() -> None:
    found = measure(made.dataset(), seconds=0.2, batch_size=4, num_workers=0)
    assert found.situation.floors["views"] is None
    assert found.situation.dtype == ""
    T, C, H, W = made.dataset().modalities["S2L1C"].shape
    assert found.bytes_decoded == T * C * H * W * 2


def test_a_source_without_chunks_has_no_storage_of_its_own() -> None:
    dataset = npy(Memory("toy", toys.arrays()))
    found = measure(dataset, seconds=0.2, batch_size=2, num_workers=1)
    assert found.situation.floors["storage"] is None
    assert found.advice.floor in ("decode", "views", "memory")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart, figures = tmp_path / "c.png", tmp_path / "f.json"
    command = ["profile", str(made.root()), "--recipe", "moco_v2", "--image-size", "16",
               "--seconds", "0.3", "--batch-size", "4", "--workers", "1",
               "--json", str(figures), "--chart", str(chart)]  # fmt: skip
    assert main(command) == 0
    said = capsys.readouterr().out
    found = json.loads(figures.read_text())
    assert found["sentence"] == said.splitlines()[-1]
    assert found["advice"]["floor"] in ("storage", "decode", "views", "memory")
    assert found["situation"]["codec"] == "blosc lz4, byte shuffle"
    assert set(found["situation"]["floors"]) == {"storage", "decode", "views", "memory"}
    assert chart.read_bytes().startswith(b"\x89PNG")
    assert chart.stat().st_size > 5000


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--recipe", "moco_v9"], "unknown recipe 'moco_v9', expected one of ['raw', 'series'"),
        (["--recipe", "nowhere:f"], "No module named 'nowhere'"),
        (["--seconds", "0"], "seconds must be above 0"),
        (["--option", "colour=red"], "takes no 'colour'; it takes split, modalities"),
        (["--option", "red"], "--option must be NAME=VALUE, got 'red'"),
        (["--consumer", "json"], "--consumer must be MODULE:FUNCTION"),
        (["--layout", "tape"], "unknown layout 'tape'"),
    ],
)
def test_what_does_not_fit_is_said(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = arguments if "--recipe" in arguments else ["--recipe", "raw", *arguments]
    assert main(["profile", str(made.root()), *given]) == 1
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_the_methods(name: str) -> None:
    recipe = recipe_of(name, 32)
    assert recipe is not None
    assert recipe.views[0].shape == (32, 32)


def test_recipes_of_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(
        '{"views": [{"size": 16, "scale": [0.2, 1.0], "hflip": 0.5}],'
        ' "radiometry": {"S2L1C": {"kind": "quantile", "low": [0], "high": [3000]}},'
        ' "dtype": "float16"}'
    )
    view = View(size=16, scale=(0.2, 1.0), hflip=0.5)
    expected = Recipe((view,), {"S2L1C": Radiometry.quantile((0,), (3000,))}, "float16")
    assert recipe_of(str(path)) == expected
    assert recipe_of("raw") is None
    assert recipe_of("series", 32) == Recipe.series(32)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"views": [{"size": 16, "flip": 1}], "radiometry": {"kind": "identity"}}',
         "views: unknown field 'flip', expected some of"),
        ('{"radiometry": {"kind": "identity"}}', "expected an object with a list 'views'"),
        ('{"views": [{"size": 16}]}', "expected an object 'radiometry'"),
        ('{"views": [{"size": -1}], "radiometry": {"kind": "identity"}}', "size must be positive"),
        ("{", "Expecting property name"),
    ],
)  # fmt: skip
def test_recipes_that_do_not_fit(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence) as caught:
        recipe_of(str(path))
    assert str(path) in str(caught.value)
