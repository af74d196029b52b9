"""What the command line asks of the data: bands, and locations that some modality lacks."""

import json
import shutil
from pathlib import Path

import pytest

from ssl4eo_train import checkpoint
from ssl4eo_train.__main__ import main
from tests.fastload import made
from tests.ssl4eo_train.runs import losses, words

pytestmark = pytest.mark.timeout(300)
BOTH = ("--modality", "S2L1C", "S1GRD", "--steps", "1")


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data whose last shard of S1GRD, with one location, is not there."""
    root = tmp_path_factory.mktemp("uneven") / "data"
    shutil.copytree(made.root(), root)
    sorted((root / "train" / "S1GRD").glob("*.tar"))[-1].unlink()
    return root


def test_keys_that_one_modality_lacks_are_refused_or_dropped(
    uneven: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert main(words(out, *BOTH, data=uneven)) == 2
    assert f"S1GRD lacks 1 of {made.LOCATIONS} keys" in capsys.readouterr().err
    assert main(words(out, *BOTH, "--missing", "drop", data=uneven)) == 0
    printed = capsys.readouterr().out
    assert f"1 keys dropped: S1GRD lacks 1 of {made.LOCATIONS} keys" in printed
    assert f"data   {made.LOCATIONS - 1} locations" in printed
    # A resumed run goes on as it was.
    assert main(["--resume", "--out", str(out), "--device", "cpu", "--steps", "2"]) == 0
    assert [step for step, _ in losses(out)] == [1, 2]


def test_bands_are_chosen_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert main(words(out, "--bands", "B04", "B03", "B02", "--steps", "1")) == 0
    assert "S2L1C (3 bands)" in capsys.readouterr().out
    saved = checkpoint.load(out)
    assert saved["run"]["band_names"] == {"S2L1C": ["B04", "B03", "B02"]}
    assert saved["run"]["bands"] == 3
    assert len(saved["radiometry"]["S2L1C"]["scale"]) == 3
    assert json.loads((out / "config.json").read_text())["bands"] == ["B04", "B03", "B02"]
    assert main(words(tmp_path / "x", "--bands", "B99", "--steps", "1")) == 2
    assert "B99" in capsys.readouterr().err


def test_bands_of_several_modalities(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert main(words(out, *BOTH, "--bands", "S2L1C=B08,B04", "S1GRD=vv")) == 0
    names = checkpoint.load(out)["run"]["band_names"]
    assert names == {"S2L1C": ["B08", "B04"], "S1GRD": ["vv"]}


def test_a_modality_of_one_date_counts_once() -> None:
    """As DEM does beside four dates of Sentinel-2, where a view shows all."""
    from types import SimpleNamespace
    from typing import Any

    from ssl4eo_train import data

    infos = {"S2L2A": SimpleNamespace(bands=12, timestamps=4),
             "DEM": SimpleNamespace(bands=1, timestamps=1)}  # fmt: skip
    dataset: Any = SimpleNamespace(modalities=infos)
    for seasons, dates, bands in (("all", {"S2L2A": 4, "DEM": 1}, 49), (None, None, 13)):
        config: Any = SimpleNamespace(modality=list(infos), seasons=seasons)
        assert data.dates(config, dataset) == (dates or {"S2L2A": 1, "DEM": 1})
        assert data.bands(config, dataset) == bands
