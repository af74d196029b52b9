"""The settings of published runs, each tried for two tiny steps, and files that are wrong."""

import dataclasses
from pathlib import Path

import pytest
import timm

from fastload.synth import synth
from ssl4eo_train import presets
from ssl4eo_train.__main__ import main
from ssl4eo_train.command import parser
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS
from ssl4eo_train.tracking import NAME, read

pytestmark = pytest.mark.timeout(180)

NAMES = sorted(path.stem for path in presets.FOLDER.glob("*.yaml"))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, 9, modalities=["S2L1C", "S2L2A", "S2RGB", "S1GRD"], size=48)


def resolved(*words: str) -> Config:
    return resolve(vars(parser().parse_args(["--device", "cpu", *words])), None, World())


def test_every_method_has_one() -> None:
    assert {resolved("--config", name, "--data", "x").method for name in NAMES} == set(METHODS)


SMALL = {
    "moco_v2": ["queue=8", "splits=2"],
    "moco_v3": ["hidden=32", "width=16"],
    "seco": ["queue=8"],
    "dino": ["outputs=64", "hidden=32", "local_views=2"],
    "mae": ["decoder_width=32", "decoder_depth=1"],
    "data2vec": ["target_blocks=2"],
}
LEFT = {
    # Of a transformer alone.
    "dino_resnet50": {"drop_path", "published_positions"},
}
"""Options that a configuration does not set."""
BY_VIEWS = {"solarize_dark"}


@pytest.mark.parametrize("name", NAMES)
def test_published_run_starts(scenes: Path, tmp_path: Path, name: str) -> None:
    config = resolved("--config", name, "--data", "x")
    assert (config.image_size, config.batch_size) == (224, 256)
    arch = "test_vit" if "vit" in config.arch else "test_resnet"
    tiny = ["--arch", arch, "--image-size", "32", "--batch-size", "4", "--steps", "2"]
    where = ["--data", str(scenes), "--out", str(tmp_path / "run"), "--device", "cpu"]
    assert main(["--config", name, *tiny, *where, "--set", *SMALL[config.method]]) == 0
    assert [row["step"] for row in read(tmp_path / "run" / NAME)] == [1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_all_settings_of_a_run_are_in_its_file(name: str) -> None:
    """So that no default that changes can change a published run."""
    content = presets.load(name)
    config = resolved("--config", name, "--data", "x")
    wanted = {"method", "arch", "modality", "image_size", "batch", "epochs", "precision", "lr"}
    assert wanted <= set(content)
    options = {field.name for field in dataclasses.fields(METHODS[config.method].Options)}
    assert options - set(config.options) - LEFT.get(name, set()) <= BY_VIEWS
    assert timm.is_model(config.arch)


def test_parts_are_as_large_as_what_a_gpu_held() -> None:
    """Batch norm over 64 samples, whether 4 processes have one part each, or one has four."""
    config = resolved("--config", "moco_v2_resnet50", "--data", "x")
    assert config.options["splits"] == 4
    assert config.batch_size // config.options["splits"] == 64


@pytest.mark.parametrize("fusion", ["early", "drop", "views"])
@pytest.mark.parametrize("seasons", ["distinct", "all"])
def test_radar_and_optical_bands_together(
    scenes: Path, tmp_path: Path, fusion: str, seasons: str
) -> None:
    line = ["--data", str(scenes), "--out", str(tmp_path / "run"), "--device", "cpu"]
    line += ["--modality", "S2L1C", "S1GRD", "--fusion", fusion, "--seasons", seasons]
    line += ["--arch", "test_resnet", "--image-size", "24", "--batch-size", "4", "--steps", "2"]
    assert main([*line, "--set", "queue=8"]) == 0
    assert len(list(read(tmp_path / "run" / NAME))) == 2


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(SetupError) as error:
        resolved("--config", str(path))
    return str(error.value)


def test_files_that_are_wrong(tmp_path: Path) -> None:
    assert "no 'batchsize'; the nearest name is 'batch'" in refused(
        tmp_path, "method: mae\nbatchsize: 8"
    )
    assert "batch: expected int, as in 1, got 'many'" in refused(
        tmp_path, "method: mae\nbatch: many"
    )
    assert "nearest name is 'queue'" in refused(tmp_path, "method: moco_v2\noptions: {que: 8}")
    assert "method must be one of moco_v2" in refused(tmp_path, "method: simclr")
    assert "must hold a mapping" in refused(tmp_path, "- method")
    assert "is not YAML" in refused(tmp_path, "method: [")
    with pytest.raises(SetupError, match="neither a file nor one of data2vec_vit_small, dino_"):
        resolved("--config", "nothing")


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("method: moco_v2\nlr: 1\nepochs: 7\noptions: {queue: 512, temperature: 1}\n")
    config = resolved("--config", str(path), "--lr", "0.5", "--set", "queue=1024", "--data", "x")
    assert (config.lr, config.epochs, config.batch_size) == (0.5, 7, 256)
    assert config.options == {"queue": 1024, "temperature": 1.0}
    assert isinstance(config.options["temperature"], float)
