import json
from pathlib import Path
from typing import Any

import pytest

from ssl4eo_train import made
from ssl4eo_train.command import parser
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError

pytestmark = pytest.mark.timeout(60)


def resolved(
    *words: str, saved: dict[str, Any] | None = None, world: World | None = None
) -> Config:
    return resolve(vars(parser().parse_args(["--device", "cpu", *words])), saved, world or World())


def saved(config: Config, world: World | None = None) -> dict[str, Any]:
    values = json.loads(json.dumps(config.__dict__))
    return {"config": values, "run": {"batch": config.batch_size * (world or World()).size}}


def test_real_data_gets_the_published_setting() -> None:
    config = resolved("--data", "/data")
    assert (config.method, config.arch, config.image_size) == ("moco_v2", "resnet50", 224)
    assert (config.batch_size, config.epochs, config.steps) == (256, 100, None)
    assert (config.modality, config.precision, config.loader) == (["S2L1C"], "fp32", "threads")
    assert config.options == {}


def test_four_processes_share_the_published_batch() -> None:
    assert resolved("--data", "/data", world=World(1, 4, 1)).batch_size == 64
    with pytest.raises(SetupError, match="3 processes cannot share a step of 256"):
        resolved("--data", "/data", world=World(0, 3, 0))


def test_made_scenes_get_a_small_setting_and_flags_win() -> None:
    config = resolved("--image-size", "48", "--steps", "7")
    assert config.data is None
    assert (config.image_size, config.steps) == (48, 7)
    for name, value in made.SETTINGS["moco_v2"].items():
        assert name == "image_size" or getattr(config, name) == value


def test_resuming_continues_with_what_was_saved() -> None:
    before = saved(
        resolved("--data", "/data", "--arch", "resnet18", "--steps", "10", "--seed", "4")
    )
    config = resolved("--resume", "--out", "x", saved=before)
    assert (config.data, config.arch, config.seed) == ("/data", "resnet18", 4)
    assert (config.steps, config.resume, config.out) == (10, True, "x")
    assert resolved("--resume", "--out", "x", "--steps", "20", saved=before).steps == 20
    further = resolved("--resume", "--out", "x", "--epochs", "30", saved=before)
    assert (further.steps, further.epochs) == (None, 30)


def test_resuming_on_other_processes_keeps_the_step() -> None:
    before = saved(resolved("--data", "/data", "--batch-size", "32"))
    assert resolved("--resume", "--out", "x", saved=before, world=World(0, 2, 0)).batch_size == 16


def test_written_as_json(tmp_path: Path) -> None:
    config = resolved("--out", str(tmp_path / "a" / "b"), "--seed", "9")
    (tmp_path / "a" / "b").mkdir(parents=True)
    config.write()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["config.json"]
    written = json.loads((tmp_path / "a" / "b" / "config.json").read_text())
    assert Config(**written) == config


def test_bands_are_a_list_or_by_modality() -> None:
    assert resolved().bands is None
    assert resolved("--bands", "B04", "B03").bands == ["B04", "B03"]
    several = resolved("--bands", "S2L1C=B04,B03", "S1GRD=vv").bands
    assert several == {"S2L1C": ["B04", "B03"], "S1GRD": ["vv"]}
    for wrong in (["S2L1C=B04", "vv"], ["=B04"], ["S2L1C="]):
        with pytest.raises(SetupError, match="expected NAME, or MODALITY=NAME,NAME, got"):
            resolved("--bands", *wrong)


def test_what_a_checkpoint_of_before_does_not_say_is_at_its_default() -> None:
    old = saved(resolved("--data", "/data"))
    for name in ("bands", "missing", "on_error"):
        del old["config"][name]
    config = resolved("--resume", "--out", "x", saved=old)
    assert (config.bands, config.missing, config.on_error) == (None, "error", "raise")


def test_choices_of_a_file_are_checked(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("method: moco_v2\non_error: skip\n")
    with pytest.raises(SetupError, match="on_error: expected one of raise, replace, got 'skip'"):
        resolved("--config", str(tmp_path / "own.yaml"))


@pytest.mark.parametrize("words", [("--batch-size", "0"), ("--seed", "-1"), ("--loader", "none")])
def test_words_out_of_range_are_refused(words: tuple[str, str]) -> None:
    with pytest.raises(SystemExit) as refused:
        resolved(*words)
    assert refused.value.code == 2
