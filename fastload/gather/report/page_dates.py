"""The parts of the page on dates, seasons and clouds."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastload.gather.report.charts import bars
from fastload.gather.report.dates import PUBLISHED
from fastload.inspect.html import folded, soft, table
from fastload.seasons import SEASONS

MONTHS = "JFMAMJJASOND"
QUARTERS = ("Jan-Mar", "Apr-Jun", "Jul-Sep", "Oct-Dec")
KINDS = {"meteorological": "meteorological seasons, local", "calendar": "calendar quarters"}
FEW = 6
"""Labels that have room below a chart."""
Values = Mapping[str, Any]


def dates(found: Mapping[str, Values]) -> Iterator[str]:
    """Of each modality."""
    yield "<h2>When</h2>"
    if not found:
        yield soft("Nothing was gathered that has a date.")
    for name, about in found.items():
        yield f"<h3>{escape(name)}</h3>"
        yield soft(f"{about['dates']:,} dates of {about['locations']:,} locations, "
                   f"{about['first']} to {about['last']}")  # fmt: skip
        yield '<div class="charts">'
        yield from _charts(name, about)
        yield "</div>"
        yield from _seasons(about["seasons"])
        yield from _gaps(about["gaps"])


def _charts(name: str, about: Values) -> Iterator[str]:
    months, counts = list(about["months"]), list(about["months"].values())
    yield _chart(f"{name}: dates by month, {months[0]} to {months[-1]}", counts, _thin(months))
    yield _chart(f"{name}: dates by month of the year", about["month_of_year"], list(MONTHS))
    for key, what in (("cloud", "the whole scene"), ("patch_cloud", "the patch")):
        cloud = about[key]
        if cloud is None:
            continue
        mean = f"mean {cloud['mean']:.1%}, median {cloud['median']:.1%}"
        percent = [f"{i * 5}%" if i % 5 == 0 else "" for i in range(21)]
        said = f"{name}: dates by the cloud share of {what}; {mean}"
        yield _chart(said, cloud["histogram"]["counts"], percent)
    days = about["gaps"]["histogram"]
    edges = ["" if e is None or e % 40 else f"{e:.0f}" for e in days["edges"]]
    yield _chart(f"{name}: days between dates, the last bar open", days["counts"], edges)


def _chart(said: str, counts: Sequence[int], labels: Sequence[str]) -> str:
    return f"<figure>{bars(counts, labels, said)}<figcaption>{escape(said)}</figcaption></figure>"


def _thin(labels: Sequence[str]) -> list[str]:
    step = -(-len(labels) // FEW)
    return [label if i % step == 0 else "" for i, label in enumerate(labels)]


def _seasons(found: Mapping[str, Values]) -> Iterator[str]:
    """Season coverage, beside that of v1.1."""
    rows = []
    for kind, words in KINDS.items():
        about = found[kind]
        total = max(1, about["locations"])
        rows.append((
            words, _share(about["one_date_in_each"], total),
            *(_share(about["covered"][str(k)], total) for k in (4, 3, 2, 1)),
        ))  # fmt: skip
    for kind, words in KINDS.items():
        each, three, two = (f"{PUBLISHED[name][kind]:.1%}" for name in PUBLISHED)
        rows.append((f"v1.1 validation split, {words}", each, each, three, two, "-"))
    heads = ("locations by", "one date in each", "four covered", "three", "two", "one")
    yield table("Season coverage", heads, rows, "seasons")
    for kind, names in (("meteorological", SEASONS), ("calendar", QUARTERS)):
        each = ", ".join(f"{n} {c:,}" for n, c in zip(names, found[kind]["dates"], strict=True))
        yield soft(f"Dates by {KINDS[kind]}: {each}.")


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})"


def _gaps(found: Values) -> Iterator[str]:
    rows = [
        (f"date {k + 1} to {k + 2}", *_spread(spread)) for k, spread in enumerate(found["by_place"])
    ]
    if found["span"]:
        rows.append(("first to last", *_spread(found["span"])))
    if rows:
        heads = ("days", "least", "median", "most")
        yield folded("days between dates as a table", table("Days between dates", heads, rows))


def _spread(found: Values | None) -> tuple[str, ...]:
    if found is None:
        return ("-", "-", "-")
    return str(found["least"]), f"{found['median']:g}", str(found["most"])


def windows(found: Values) -> Iterator[str]:
    """What the plan's windows promise."""
    yield "<h2>Windows of the plan</h2>"
    if not found["windows"]:
        yield soft("The plan has no candidate.")
        return
    days = ", ".join(f"{n:,} of {d} days" for d, n in found["days"].items())
    yield soft(f"{found['windows']:,} windows of first candidates, {found['earliest']} to "
               f"{found['latest']}: {days}.")  # fmt: skip
    rows = []
    for kind, words in KINDS.items():
        about = found[kind]["by_middle"]
        total = max(1, about["locations"])
        rows.append((
            words, _share(found[kind]["promised"], total), _share(about["one_date_in_each"], total),
            *(_share(about["covered"][str(k)], total) for k in (3, 2, 1)),
        ))  # fmt: skip
    heads = ("locations by", "promised", "by windows' middles", "three", "two", "one")
    yield table("Seasons of windows", heads, rows)
    yield soft(
        "Promised: each window lies within one season, and there is one for each, so that no "
        "choice of scenes can miss one."
    )
