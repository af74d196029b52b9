"""A report for people."""

from collections.abc import Iterator

from fastload.verify.verify import Report

MOST = 20
"""Findings of a kind that are printed; JSON has all."""


def table(report: Report) -> str:
    """Facts, then findings."""
    return "\n".join((*_facts(report), *_checks(report), *_findings(report)))


def _facts(report: Report) -> Iterator[str]:
    for name, facts in report.facts.items():
        yield f"{name}: {facts['samples']} samples, pixels of {facts['looked_at']} read"
        seasons = facts["seasons"]
        if seasons["one_date_in_each"] is not None:
            dates = ", ".join(f"{n} {count}" for n, count in seasons["dates"].items())
            yield f"  seasons: {dates}; one date in each: {seasons['one_date_in_each']:.1%}"
        if facts["clouds"]:
            c = facts["clouds"]
            yield f"  clouds: mean {c['mean']:.1%}, above a half on {c['above_half']:.1%} of dates"
        pixels = facts.get("pixels")
        if pixels:
            counts = {kind: sum(pixels[kind]) for kind in ("nan", "infinite", "no_data")}
            said = ", ".join(f"{kind} {n}" for kind, n in counts.items())
            yield f"  pixels: {sum(pixels['pixels'])} numbers, {said}"
        if "overlap" in facts:
            yield (
                f"  overlaps: {facts['overlap']['pairs']} pairs of patches of "
                f"{' x '.join(f'{m:g}' for m in facts['overlap']['metres'])} m, "
                f"largest IoU {facts['overlap']['largest']:.3f}"
            )


def _checks(report: Report) -> Iterator[str]:
    for name, outcome in report.checks.items():
        if outcome != "done":
            yield f"check {name}: {outcome}"
    if report.resumed:
        yield f"{report.resumed} units of work were done before"


def _findings(report: Report) -> Iterator[str]:
    shown: dict[str, int] = {}
    for finding in report.findings:
        shown[finding.kind] = shown.get(finding.kind, 0) + 1
        if shown[finding.kind] <= MOST:
            yield str(finding)
    for kind, count in shown.items():
        if count > MOST:
            yield f"{kind}: {count - MOST} more (--json FILE has all)"
    counts = ", ".join(f"{kind} {n}" for kind, n in report.counts.items())
    yield f"{len(report.findings)} findings: {counts}" if counts else "sound: no findings"
