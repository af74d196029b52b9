"""Each layout trains by the README's command."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.archives import trees
from ssl4eo_train.__main__ import main
from tests.fastload import cellmaker, made, zarrfiles
from tests.fastload.made import REPOSITORY
from tests.fastload.trees import bigearthnet, eurosat, terramesh
from tests.ssl4eo_train.runs import losses

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]


def _v10(root: Path) -> Path:
    return trees.v10(root, range(4), ["s2c"], 24, 2)


def _seco(root: Path) -> Path:
    trees.seco(root / "seasonal_contrast_100k", range(4), 24, 2)
    return root


def _folder(root: Path) -> Path:
    for i in range(4):
        trees.tif(root / "S2L2A" / f"{i}.tif", trees.noise(i, (12, 24, 24), np.uint16))
    return root


MAKERS: dict[str, Callable[[Path], Path]] = {
    "ssl4eo-s12": lambda _: made.root(),
    "ssl4eo-zarr": lambda root: zarrfiles.write(root),
    "ssl4eo-v1.0": _v10,
    "seco": _seco,
    "terramesh": terramesh.write,
    "copernicus": cellmaker.write,
    "bigearthnet": bigearthnet.v1,
    "eurosat": eurosat.ms,
    "geotiffs": _folder,
}


def commands() -> dict[str, list[str]]:
    """What the README trains with, by the folder's name."""
    text = (REPOSITORY / "README.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"python -m ssl4eo_train (--data /data/.*)", text)
    found = {}
    for line in lines:
        words = shlex.split(line)
        found.setdefault(Path(words[1]).name, words[2:])
    return found


def test_every_layout_has_a_command() -> None:
    assert set(MAKERS) <= set(commands())


@pytest.mark.parametrize("name", MAKERS)
def test_a_layout_trains_as_the_readme_says(name: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "data")
    small = ["--arch", "test_resnet", "--image-size", "16", "--batch-size", "2", "--steps", "2"]
    small += ["--set", "queue=4", "--device", "cpu", "--workers", "1", "--epochs", "1"]
    out = tmp_path / "run"
    words = ["--data", str(root), *commands()[name], *small, "--out", str(out)]
    assert main(words) == 0
    seen = losses(out)
    assert [step for step, _ in seen] == [1, 2]
    assert all(np.isfinite(loss) for _, loss in seen)
