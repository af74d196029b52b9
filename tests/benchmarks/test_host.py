import json
from pathlib import Path

import pytest

from benchmarks import host


def test_the_command_measures_both_movers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "BATCHES", (4, 8))
    monkeypatch.setattr(host, "AIM_US", {4: 20.0, 8: 10.0})
    path = tmp_path / "host.json"
    line = ["--shards", "9", "--size", "48", "--workers", "2", "--rounds", "1", "--json", str(path)]
    assert host.main(line) == 0
    found = json.loads(path.read_text())
    assert found["shards"] == 9
    rows = found["microseconds"]
    assert [(row["mover"], row["batch"]) for row in rows] == [
        (mover, batch) for mover in ("threads", "dali") for batch in (4, 8)
    ]
    for row in rows:
        busy = row["consumer"] + row["producer"] + row["readers"]
        assert 0 < row["gil"] < busy
        assert row["ceiling"] == pytest.approx(1e6 / row["gil"])
    assert "ceiling" in capsys.readouterr().out


def test_every_call_without_the_gil_is_one() -> None:
    """What is counted as overlapping must exist and be compiled to release the lock."""
    from importlib import import_module

    for name in host.WITHOUT_GIL:
        module, _, attribute = name.partition(":")
        call = getattr(import_module(module), attribute)
        options = getattr(call, "targetoptions", None)
        assert options is None or options["nogil"], name
