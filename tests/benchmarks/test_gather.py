import json
from pathlib import Path

import pytest

from benchmarks import gather
from benchmarks.gather import Round


def test_the_tightest_bound_counts() -> None:
    """A location of 4 patches took 2 s of processor and 10 MB, and at some latency 3 s."""
    quick = Round(0.0, 40.0, 40.0, 20, 80, 400, 200_000_000)
    held = Round(50.0, 60.0, 42.0, 20, 80, 400, 200_000_000)
    found = gather.project(quick, held, 100.0, 4)
    assert found.latency == pytest.approx(250_000 * 3 / 3600)
    assert found.bandwidth == pytest.approx(250_000 * 0.8 / 3600)
    assert found.processor == pytest.approx(250_000 * 2 / 4 / 3600)
    assert found.hours == found.latency
    assert gather.project(quick, held, 10.0, 4).hours == pytest.approx(250_000 * 8 / 3600)


@pytest.mark.slow
def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rustac")
    words = ["--locations", "2", "--px", "900", "--block", "256", "--latency-ms", "2"]
    out = tmp_path / "out.json"
    assert gather.main([*words, "--workers", "2", "--quiet", "--json", str(out)]) == 0
    told = json.loads(out.read_text())
    assert [one["locations"] for one in told["rounds"]] == [2, 2]
    assert told["rounds"][0]["requests"] == told["rounds"][1]["requests"] > 0
    assert "250000 locations at 2 ms and 1000 Mbit/s" in capsys.readouterr().out
