"""The page of a report: no script, no address beyond itself."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastload.gather.report.locations import ABSENT, OPEN, WHOLE, Locations
from fastload.gather.report.page_dates import dates, windows
from fastload.gather.report.page_pixels import bands, gallery
from fastload.gather.report.page_places import fewer, places, zones
from fastload.gather.report.pixels import Example
from fastload.inspect.html import facts, page, soft, table
from fastload.inspect.maps import world

STYLE = """
.bars text { font-size: 10px; fill: var(--soft); font-variant-numeric: tabular-nums; }
.bars .lines { stroke: var(--line); stroke-width: .6; fill: none; }
.bars .base { stroke: var(--soft); stroke-width: .8; fill: none; }
.bars .fill { fill: var(--dot); }
.numbers { display: grid; gap: .8rem 1.6rem; margin: 1.2rem 0 .4rem; padding: 0; font-size: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(8rem, 1fr)); }
.numbers div { display: flex; flex-direction: column-reverse; justify-content: flex-end; }
.numbers dd { font-size: 1.7rem; line-height: 1.15; font-variant-numeric: tabular-nums; }
.pair { display: grid; grid-template-columns: repeat(auto-fill, minmax(7rem, 1fr)); gap: .5rem; }
.charts { display: grid; gap: 0 2rem; margin-bottom: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(20rem, 100%), 1fr)); }
.keys .of-more { background: var(--accent); } .keys .of-dots { background: var(--dot); }
.keys .of-open { background: var(--soft); }
"""
SHOWN = {ABSENT: ("more", "absent"), OPEN: ("open", "open")}
"""How the map marks locations that are not gathered."""


def html(
    title: str, report: Mapping[str, Any], found: Locations, examples: Sequence[Example]
) -> str:
    """The page.

    Args:
        title: of the folder or the plan.
        report: all figures, as in ``report.json``.
        found: the locations, for the map.
        examples: samples in pictures.
    """
    gathered, plan = report.get("gathered"), report["plan"]
    parts: list[Iterator[str]] = [_head(title, report)]
    if gathered is None:
        parts += [_planned_map(found), windows(plan["windows"]), places(plan, report["settings"])]
    else:
        parts += [
            _gathered_map(found), fewer(gathered["failures"], gathered["trouble"]),
            dates(gathered["dates"]), windows(plan["windows"]),
            places(gathered, report["settings"], plan),
            _scenes(gathered["scenes"]), zones(gathered["zones"]),
            bands(report["pixels"]), gallery(examples, report["pixels"]),
        ]  # fmt: skip
    parts.append(_settings(report))
    return page(title, (text for part in parts for text in part), STYLE)


def _head(title: str, report: Mapping[str, Any]) -> Iterator[str]:
    yield f"<h1>{escape(title)}</h1>"
    gathered, plan = report.get("gathered"), report["plan"]
    if gathered is None:
        yield soft("A plan; nothing of it is looked at but where and when it would look.")
        yield _numbers({"locations": number(plan["locations"]),
                        "candidates each": str(plan["candidates"])})  # fmt: skip
        return
    yield _numbers({
        "locations asked": number(gathered["asked"]),
        "whole": number(gathered["whole"]),
        "absent": number(gathered["absent"]),
        "open": number(gathered["open"]),
        "in samples": size(sum(gathered["bytes"].values())),
        "read": size(gathered["bytes_read"]),
        "requests": number(gathered["requests"]),
    })  # fmt: skip
    left_out = gathered["left_out"]
    yield soft(
        "Whole: the location has its sample. Absent: none of its candidates has a scene for every "
        "date and modality"
        + (f", or it was given up by hand ({number(left_out)}). " if left_out else ". ")
        + "Open: not yet looked at, or something failed that may go away."
    )


def _numbers(values: Mapping[str, str]) -> str:
    rows = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="numbers">{rows}</dl>'


def number(value: int) -> str:
    """In groups of three digits."""
    return f"{value:,}"


def size(count: int) -> str:
    """Bytes in few digits."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} B"


def _planned_map(found: Locations) -> Iterator[str]:
    yield "<h2>Where</h2>"
    yield world(found.lon, found.lat)
    yield soft("A dot for each half degree with a location, at its first candidate.")


def _gathered_map(found: Locations) -> Iterator[str]:
    yield "<h2>Where</h2>"
    here = found.state == WHOLE
    others = {
        kind: (name, found.lon[found.state == k], found.lat[found.state == k])
        for k, (kind, name) in SHOWN.items()
    }
    yield world(found.lon[here], found.lat[here], others=others)
    names = (("of-dots", "whole"), ("of-more", "absent"), ("of-open", "open"))
    keys = "".join(f'<li><span class="{kind}"></span>{name}</li>' for kind, name in names)
    yield f'<ul class="keys">{keys}</ul>'
    yield soft("A dot for each half degree; those that are not whole at their first candidate.")


def _scenes(scenes: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    yield "<h2>Processing baselines and offsets</h2>"
    rows = [
        (s["modality"], s["collection"], s["baseline"] or "-", s["why_offset"] or "-",
         str(s["offset"]), number(s["scenes"]))
        for s in scenes
    ]  # fmt: skip
    heads = ("modality", "collection", "baseline", "offset by", "DN taken off", "scenes")
    yield table("Scenes by processing baseline and offset", heads, rows)


def _settings(report: Mapping[str, Any]) -> Iterator[str]:
    yield '<h2>Settings, versions and licences</h2><div class="cards">'
    yield facts("Plan", report["settings"])
    for what, about in report["sources"].items():
        yield facts(what.capitalize(), about if isinstance(about, Mapping) else {"": about})
    if report["run"]:
        yield facts("Run", report["run"])
    yield "</div>"
    if report["licences"]:
        rows = "".join(f"<li>{escape(line)}</li>" for line in report["licences"])
        yield f'<ul class="told">{rows}</ul>'
