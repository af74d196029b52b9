"""What a run found, as text and as JSON. Pure functions of the results."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from benchmarks import report
from benchmarks.gpu.parts import Result
from benchmarks.results import Comparison, Figure, Missing, Race, Run


def line(result: Result) -> str:
    """A part in one line."""
    name = f"{result.outcome.upper():<8}  {result.name:<20}  {result.seconds:6.1f} s"
    peak = result.memory.get("torch_peak")
    memory = "" if peak is None else f"  {peak / 2**30:5.1f} GiB"
    return f"{name}{memory}  {result.detail}".rstrip()


def text(results: Sequence[Result], inactive: Sequence[str], machine: Mapping[str, object]) -> str:
    """The table of a whole run: figures, then checks, then what was not active."""
    checks = [line(r) for r in results if r.kind == "check"]
    parts = [report.table(_run(results, machine)), "", *checks, "", *inactive]
    count = {
        o: sum(r.outcome == o for r in results if r.kind == "check")
        for o in ("passed", "failed", "skipped")
    }
    parts.append("checks: " + ", ".join(f"{n} {outcome}" for outcome, n in count.items()))
    return "\n".join(parts)


def as_json(
    results: Sequence[Result],
    inactive: Sequence[str],
    machine: Mapping[str, object],
    options: Mapping[str, object],
) -> dict[str, Any]:
    """Everything that a run found, as plain values."""
    found = report.as_json(_run(results, machine))
    peaks = [r.memory["torch_peak"] for r in results if "torch_peak" in r.memory]
    parts = []
    for result in results:
        part = asdict(result)
        del part["races"], part["missing"]
        parts.append(part)
    absent = [
        {"name": p["name"], "outcome": p["outcome"], "reason": p["detail"]}
        for p in parts
        if p["kind"] == "check" and p["outcome"] != "passed"
    ]
    return {
        "machine": found["machine"],
        "options": dict(options),
        "inactive": list(inactive),
        "peak_device_memory": max(peaks, default=None),
        "checks": [p for p in parts if p["kind"] == "check"],
        "figures": [p for p in parts if p["kind"] == "figure"],
        "races": found["races"],
        "missing": [*absent, *found["missing"]],
    }


def exit_code(results: Sequence[Result]) -> int:
    """1 where a part failed, or where checks were asked for and none passed; else 0."""
    checks = [r for r in results if r.kind == "check"]
    silent = bool(checks) and not any(r.outcome == "passed" for r in checks)
    return 1 if silent or any(r.outcome == "failed" for r in results) else 0


def _run(results: Sequence[Result], machine: Mapping[str, object]) -> Run:
    figures = [r for r in results if r.kind == "figure"]
    races = [_race(race) for r in figures for race in r.races]
    missing = [Missing(**m) for r in figures for m in r.missing]
    missing += [
        Missing(r.name, r.outcome, r.detail)
        for r in figures
        if r.outcome in ("failed", "skipped") and not r.missing
    ]
    return Run(races, missing, dict(machine))


def _race(found: Mapping[str, Any]) -> Race:
    figures = [Figure(f["name"], tuple(f["rounds"]), f["note"]) for f in found["figures"]]
    ratios = [Comparison(r["over"], r["under"], r["expected"]) for r in found["ratios"]]
    return Race(found["title"], tuple(figures), tuple(ratios), found["unit"])
