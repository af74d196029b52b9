import json
from pathlib import Path

import pytest

from benchmarks import downstream
from benchmarks.downstream import Outcome
from tests.ssl4eo_train.evaluate import made

pytestmark = pytest.mark.timeout(240)


def outcome(seed: int, knn: float, linear: float) -> Outcome:
    before = {"knn": 0.5, "linear": 0.5}
    return Outcome("mae", seed, before, {"knn": knn, "linear": linear}, 9, 2.0)


def test_the_table_has_mean_and_range() -> None:
    text = downstream.table([outcome(0, 0.6, 0.5), outcome(1, 0.8, 0.5)], 0.674)
    assert text.splitlines()[2] == (
        "| mae | test_vit, 64 px | 50.0 (50.0 to 50.0) | 70.0 (60.0 to 80.0) "
        "| 20.0 (10.0 to 30.0) | 50.0 (50.0 to 50.0) | 50.0 (50.0 to 50.0) | 0.0 (0.0 to 0.0) "
        "| 9 | 2 |"
    )
    assert "2 seeds" in text
    assert "67.4 %" in text


def test_a_method_that_gains_nothing_is_named() -> None:
    assert downstream.unbeaten([outcome(0, 0.6, 0.5)]) == {"mae": ["linear"]}
    assert downstream.unbeaten([outcome(0, 0.6, 0.6)]) == {}


@pytest.mark.slow
def test_a_run_is_trained_and_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLOAD_CACHE", str(tmp_path / "cache"))
    data, file = made.tree(tmp_path / "data"), tmp_path / "found.json"
    found = downstream.measure("mae", 0, data, steps=2, batch_size=4)
    assert set(found.trained) == set(found.untrained) == {"knn", "linear"}
    assert found.steps == 2
    downstream.write(file, [found], downstream.colours_of(data))
    written = json.loads(file.read_text())
    assert written["methods"]["mae"]["runs"][0]["steps"] == 2
    assert 0 <= written["colours"] <= 1
