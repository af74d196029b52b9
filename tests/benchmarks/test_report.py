import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import machine, report
from benchmarks.results import Comparison, Figure, Missing, Race, Run


def race() -> Race:
    return Race(
        "decoding",
        (
            Figure("fastload", (100.0, 300.0, 200.0), "ours"),
            Figure("slow", (20.0, 10.0, 30.0)),
            Figure("fast", (400.0, 400.0, 400.0)),
        ),
        (
            Comparison("fastload", "slow", 8),
            Comparison("fastload", "fast", 0.9),
            Comparison("slow", "fast"),
        ),
    )


def run() -> Run:
    found = {"cpu": "A CPU", "cores": 2, "workers": 2, "commit": "abc", "cache": "warm"}
    missing = [
        Missing("test_x", "failed", "ValueError: broken"),
        Missing("test_y", "skipped", "no"),
    ]
    return Run([race()], missing, found)


def test_figures_are_medians_with_quartiles() -> None:
    figure = race().figure("fastload")
    assert figure.median == 200
    assert figure.quartiles == (150, 250)


def test_a_ratio_is_median_over_median_and_gets_a_verdict() -> None:
    found = race()
    slow, fast, plain = found.comparisons
    assert found.ratio(slow) == 10
    assert found.verdict(slow) == "met"
    assert found.ratio(fast) == 0.5
    assert found.verdict(fast) == "below"
    assert found.verdict(plain) == "reported"


@pytest.mark.parametrize("rounds", [(), (0.0,), (float("nan"),), (float("inf"),), (-1.0, 2.0)])
def test_a_figure_without_a_positive_rate_is_refused(rounds: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="'x': expected positive rates"):
        Figure("x", rounds)


def test_a_race_refuses_unknown_and_doubled_names() -> None:
    figure = Figure("a", (1.0,))
    with pytest.raises(ValueError, match="no figure 'b'"):
        Race("r", (figure,), (Comparison("a", "b"),))
    with pytest.raises(ValueError, match="occurs twice"):
        Race("r", (figure, figure))


def test_the_table_shows_losses_failures_and_skips() -> None:
    text = report.table(run())
    assert "fastload / slow = 10.00, expected >= 8: met" in text
    assert "fastload / fast = 0.50, expected >= 0.9: below" in text
    assert "slow / fast = 0.05\n" in text
    assert "FAILED: test_x: ValueError: broken" in text
    assert "SKIPPED: test_y: no" in text
    row = next(line for line in text.splitlines() if line.strip().startswith("fastload  "))
    assert row.split() == ["fastload", "200.0", "(150.0", "to", "250.0)", "ours"]


def test_json_holds_every_round_and_survives_a_round_trip() -> None:
    found = json.loads(json.dumps(report.as_json(run())))
    assert found["machine"]["commit"] == "abc"
    assert found["races"][0]["figures"][0]["rounds"] == [100, 300, 200]
    assert found["races"][0]["ratios"][1] == {
        "over": "fastload", "under": "fast", "ratio": 0.5, "expected": 0.9, "verdict": "below",
    }  # fmt: skip
    assert [m["outcome"] for m in found["missing"]] == ["failed", "skipped"]


def test_the_chart_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "folder" / "chart.png"
    report.chart(run(), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n")
    with pytest.raises(ValueError, match="at least one race"):
        report.chart(replace(run(), races=[]), path)


def test_the_machine_is_described_in_plain_values() -> None:
    found = machine.describe()
    assert json.loads(json.dumps(found)) == found
    assert found["cpu"]
    assert found["commit"]
    assert isinstance(found["cores"], int)
    assert found["cores"] > 0
    assert "numpy" in found["libraries"]  # type: ignore[operator]
