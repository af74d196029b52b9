"""Training from a URL."""

from pathlib import Path

import pytest

from fastload.synth import synth
from ssl4eo_train.__main__ import main
from ssl4eo_train.tracking import NAME, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def losses(data: str, out: Path) -> list[float]:
    line = ["--data", data, "--out", str(out), "--arch", "test_resnet", "--image-size", "24"]
    line += ["--batch-size", "4", "--set", "queue=8", "--device", "cpu", "--workers", "2"]
    assert main([*line, "--steps", "3", "--seed", "3"]) == 0
    return [row["loss"] for row in read(out / NAME)]


def test_training_from_a_url_is_training_from_the_folder(
    served: tuple[Path, str], tmp_path: Path
) -> None:
    synth(served[0] / "scenes", 8, modalities=["S2L1C"], size=32, samples_per_shard=4)
    far = losses(f"{served[1]}/scenes", tmp_path / "far")
    assert len(far) == 3
    assert far == losses(str(served[0] / "scenes"), tmp_path / "near")
