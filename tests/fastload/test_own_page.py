"""docs/own.md does what it says, and the example layout is one."""

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastload
from examples.own_layout import Arrays, OwnLayout, make
from fastload.cli import main
from fastload.synth import synth
from tests.conformance.source import Damaged, Pixels, SourceTests
from tests.fastload.made import assert_like_torch

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own.md").read_text()
COMMAND = re.compile(r"^    (python -m .*)$", re.M)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with made data."""
    synth(tmp_path / "made", 6, modalities=("S2L2A", "S1GRD"), size=48, workers=1)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def steps() -> list[tuple[str, str]]:
    """Snippets and commands of the page, in their order."""
    found = []
    for part in re.split(r"(^```python\n.*?^```$)", PAGE, flags=re.M | re.S):
        if part.startswith("```python"):
            found.append(("code", part.removeprefix("```python\n").removesuffix("```")))
        else:
            found += [("command", line) for line in COMMAND.findall(part)]
    return found


@pytest.mark.timeout(120)
def test_the_pages_snippets_run(here: Path) -> None:
    names: dict[str, Any] = {}
    kinds = [kind for kind, _ in steps()]
    assert (kinds.count("code"), kinds.count("command")) == (PAGE.count("```python"), 1)
    for kind, text in steps():
        text = text.replace("/data/ssl4eo-s12", str(here / "made"))
        if kind == "command":
            assert main(shlex.split(text)[3:]) == 0
        else:
            exec(compile(text, "docs/own.md", "exec"), names)
    assert names["rgb"].modalities["S2L2A"].band_names == ("B04", "B03", "B02")
    assert names["dataset"][0]["S2L2A"][0].shape == (12, 32, 32)
    assert names["several"][0]["S2L2A"].shape == (4, 3, 48, 48)
    assert names["batch"]["class"].dtype == torch.int64
    assert fastload.Statistics.load("other.json") == names["other"]
    assert names["radar"].std == (5.0, 6.0)


# --- the example ---


class TestArrays(SourceTests):
    """The example's source passes the suite."""

    def make(self, tmp_path: Path) -> tuple[Arrays, Pixels]:
        root = make(tmp_path)
        pixels = [np.load(path) for path in sorted((root / "pixels").iterdir())]
        return Arrays("OWN", root), np.stack(pixels)

    def damaged(self, tmp_path: Path) -> Damaged:
        source = Arrays("OWN", make(tmp_path))
        path = tmp_path / "pixels" / source.files[4]
        path.write_bytes(path.read_bytes()[:-100])
        return Damaged(source, 4, 2)


@pytest.mark.timeout(120)
def test_the_example_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "own_layout.py", tmp_path],
        cwd=ROOT, capture_output=True, text=True, timeout=100,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'kernels'}", "PATH": "", "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"\(4, 4, 32, 32\) \(4, 4, 32, 32\)", done.stdout)) == 3


@pytest.mark.timeout(60)
def test_the_examples_batches_are_those_of_torch(tmp_path: Path) -> None:
    """With its dates, places and a column of labels."""
    recipe = fastload.Recipe(
        (fastload.View(size=16, scale=(0.3, 1.0), timestamp="distinct"),) * 2,
        fastload.Radiometry.standardise(2000, 1000),
    )
    data = OwnLayout(make(tmp_path), recipe).with_labels({f"{i:04d}": i * i for i in range(12)})
    loader = fastload.DataLoader(data, 5, shuffle=True, num_workers=2, seed=data.seed)
    data.set_epoch(0)
    expected = torch.utils.data.DataLoader(data, 5, sampler=loader.order(0).tolist())
    for mine, theirs in zip(loader, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", ["OWN"])
    item = data[3]
    assert (item["key"], item["lon"], item["lat"], item["label"]) == ("0003", 13.0, 47.0, 9)
    shown = np.array([int(t) for t in item["time"]], "datetime64[ns]")
    assert {str(day)[8:10] for day in shown} == {"04"}


def test_what_the_example_refuses(tmp_path: Path) -> None:
    root = make(tmp_path)
    table = (root / "places.csv").read_text()
    (root / "places.csv").write_text(table.replace("\n0007,", "\n7,"))
    with pytest.raises(ValueError, match=r"places\.csv: 1 arrays have no row, such as 0007"):
        OwnLayout(root)
    (root / "places.csv").write_text(
        table.replace("2020-02-02", "").replace("\n0001,11,", "\n0001,,")
    )
    data = OwnLayout(root)
    assert data.times(1)[0] == np.iinfo(np.int64).min
    assert np.isnan(data.lon[1])
    np.save(root / "pixels" / "0002.npy", np.zeros((3, 4, 64, 63), np.int16))
    with pytest.raises(fastload.DataError, match=r"0002\.npy.*bytes as 0000\.npy has"):
        OwnLayout(root)
    np.save(root / "pixels" / "0000.npy", np.zeros((3, 5, 64, 64), np.int16))
    with pytest.raises(fastload.DataError, match=r"expected \[T, 4, H, W\] in C order"):
        OwnLayout(root)
