"""The parts of the page on candidates that failed, distances, overlaps and zones."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastload.gather.patch import REASONS
from fastload.gather.report.charts import bars
from fastload.inspect.html import folded, soft, table

Values = Mapping[str, Any]


def fewer(found: Values, trouble: Values) -> Iterator[str]:
    """Candidates that did not fit, and locations in trouble."""
    yield "<h2>Candidates that did not fit</h2>"
    at = ", ".join(f"the {_nth(int(k))} at {n:,}" for k, n in found["fitted_at"].items())
    fitted = f"; of those that fitted, {at} locations." if at else "."
    yield soft(f"{found['tried']:,} candidates were looked at{fitted}")
    yield from _reasons(found) if found["reasons"] else (soft("None failed."),)
    if trouble["locations"]:
        rows = [(one["key"], one["why"]) for one in trouble["such_as"]]
        yield "<h3>Open</h3>"
        yield soft(f"Locations that could not be decided: {trouble['locations']:,}, such as:")
        yield table("Trouble", ("location", "why"), rows, "words")


def _reasons(found: Values) -> Iterator[str]:
    names = list(found["reasons"])
    rows = [(name, f"{n:,}", REASONS.get(name, "-")) for name, n in found["reasons"].items()]
    yield table("Reasons", ("reason", "candidates", "which says"), rows, "words")
    bands = [
        (_band(b["south"], b["north"]), f"{b['tried']:,}",
         f"{b['fitted']:,} ({b['fitted'] / max(1, b['tried']):.0%})",
         *(f"{b['reasons'].get(n, 0):,}" for n in names))
        for b in found["by_latitude"]
    ]  # fmt: skip
    yield "<h3>By latitude</h3>"
    yield table("Candidates by latitude", ("latitude", "tried", "fitted", *names), bands)


def _nth(k: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(k, f"{k}th")


def _band(south: int, north: int) -> str:
    low, high = sorted((abs(south), abs(north)))
    return f"{low}° to {high}° {'N' if north > 0 else 'S'}".replace(" ", "\N{NO-BREAK SPACE}")


def places(found: Values, settings: Values, plan: Values | None = None) -> Iterator[str]:
    """Nearest neighbours and overlaps, of a plan or of what was gathered."""
    yield "<h2>Distances</h2>"
    about = found["distances"]
    if about["median"] is None:
        yield soft("Fewer than two places: there is no distance.")
    else:
        yield soft(
            f"To the nearest neighbour of {about['places']:,} places, in metres on the ground: "
            f"least {about['least']:,.0f}, median {about['median']:,.0f}; "
            + ", ".join(f"{n:,} below {m}" for m, n in about["below"].items()) + "."
        )  # fmt: skip
        yield from _distances(about)
    promised = bool(settings.get("apart"))
    if plan:
        yield _overlaps("Patches that were gathered", found["overlaps"], promised)
    yield _overlaps("All candidates of the plan", (plan or found)["overlaps"], promised)
    yield from _most(found["overlaps"])


def _distances(about: Values) -> Iterator[str]:
    found = about["histogram"]
    edges = ["" if e is None else f"{float(f'{e / 1000:.2g}'):g}" for e in found["edges"]]
    said = "Places by the distance to their nearest neighbour, in km; the bins are not alike"
    yield f"<figure>{bars(found['counts'], edges, said)}<figcaption>{said}</figcaption></figure>"
    rows = [(f"{s['first']} and {s['second']}", f"{s['metres']:,.1f} m") for s in about["smallest"]]
    yield folded("nearest pairs", table("Nearest pairs", ("pair", "distance"), rows))


def _overlaps(what: str, found: Values, promised: bool) -> str:
    words = f"{what}: {found['patches']:,} squares of {found['side_m']:g} m; "
    if found["pairs"]:
        words += f"pairs that share ground: {found['pairs']:,}" + (
            ", although the plan promises none." if promised else "; its law does not forbid it."
        )
    else:
        words += "none shares ground with another" + (", as is promised." if promised else ".")
    return f"<p>{escape(words)}</p>"


def _most(found: Values) -> Iterator[str]:
    if found["most"]:
        rows = [(f"{m['first']} and {m['second']}", f"{m['iou']:.3f}") for m in found["most"]]
        heads = ("pair", "intersection over union")
        yield folded("pairs that share most", table("Pairs that share most", heads, rows))


def zones(found: Mapping[str, int]) -> Iterator[str]:
    """UTM zones of the patches."""
    yield "<h2>UTM zones</h2>"
    counts = [0] * 60
    for crs, n in found.items():
        number = int(crs) % 100
        if int(crs) // 100 in (326, 327) and 1 <= number <= 60:
            counts[number - 1] += n
    north = sum(n for crs, n in found.items() if int(crs) // 100 == 326)
    said = (f"Patches by the zone of their grid: {sum(1 for n in counts if n)} zones, {north:,} "
            f"patches north and {sum(counts) - north:,} south")  # fmt: skip
    yield bars(counts, _tens(60), said)
    yield soft(said + ".")
    others = {crs: n for crs, n in found.items() if int(crs) // 100 not in (326, 327)}
    if others:
        yield soft("Others: " + ", ".join(f"EPSG:{c} {n:,}" for c, n in others.items()) + ".")


def _tens(count: int) -> Sequence[str]:
    return [str(i + 1) if not (i + 1) % 10 or not i else "" for i in range(count)]
