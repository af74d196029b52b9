"""One page that needs nothing else: no script, no address beyond itself."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import Source
from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.inspect.describe import number, of_sample, rows_of
from fastload.inspect.html import figure
from fastload.inspect.html import page as whole
from fastload.inspect.maps import degrees, world
from fastload.inspect.pictures import MASK, Picture, mask, pictures
from fastload.inspect.png import data_uri
from fastload.inspect.views import Shown
from fastload.profile import Stages
from fastload.seasons import SEASONS, season
from fastload.storage.dates import NO_TIME
from fastload.storage.group import CLOUD_MASK
from fastload.verify.shards import others


@dataclass
class Seen:
    """What a page shows.

    Attributes:
        place: of the data.
        dataset: of it, without a recipe.
        sample: its number.
        facts: see `described`.
        recipe: its name; "" for none.
        views: of the recipe.
        notes: what is left out, and why.
    """

    place: str
    dataset: Dataset
    sample: int
    facts: dict[str, dict[str, Any]]
    recipe: str = ""
    views: Sequence[Shown] = ()
    notes: Sequence[str] = ()
    _first: list[Picture] = field(default_factory=list)
    _masks: dict[str, NDArray[Any]] = field(default_factory=dict)


def page(seen: Seen) -> str:
    """The page's HTML.

    Raises:
        DataError: where the sample cannot be read.
    """
    title = f"{seen.place}: sample {seen.dataset.keys[seen.sample]}"
    return whole(title, (*_head(seen), *_sample(seen), *_views(seen)))


def _head(seen: Seen) -> Iterator[str]:
    dataset, i = seen.dataset, seen.sample
    yield f"<h1>{escape(seen.place)}</h1>"
    yield f'<p class="soft">{len(dataset)} samples of {len(dataset.sources)} modalities</p>'
    yield '<div class="cards">'
    for name, facts in seen.facts.items():
        rows = "".join(f"<dt>{escape(a)}</dt><dd>{escape(b)}</dd>" for a, b in rows_of(facts))
        yield f'<section class="card"><h3>{escape(name)}</h3><dl>{rows}</dl></section>'
    yield "</div><h2>Locations</h2>"
    here = (float(dataset.lon[i]), float(dataset.lat[i]))
    yield world(np.asarray(dataset.lon), np.asarray(dataset.lat), here)


def _sample(seen: Seen) -> Iterator[str]:
    dataset, i = seen.dataset, seen.sample
    place = degrees(float(dataset.lat[i]), float(dataset.lon[i]))
    yield f"<h2>Sample {escape(str(dataset.keys[i]))}</h2>"
    yield f'<p class="soft">{place}</p>'
    for name, source in dataset.sources.items():
        row = dataset.row_of(name, i)
        pixels = dataset.read(name, i, range(_dates(source, row)))
        yield f"<h3>{escape(name)}</h3>"
        yield from _rows(seen, source, row, pixels)
        yield from _mask(seen, source, row)
        yield _bands(name, of_sample(source.modality, pixels))


def _dates(source: Source, row: int) -> int:
    """How many dates a sample has."""
    counts = source.columns.dates
    return source.modality.timestamps if counts is None else int(counts[row])


def _rows(seen: Seen, source: Source, row: int, pixels: NDArray[Any]) -> Iterator[str]:
    """A row of pictures for each kind."""
    for kind in pictures(source.modality, pixels):
        if not seen._first:
            seen._first = kind
        yield from _row(source, row, kind)


def _row(source: Source, row: int, kind: Sequence[Picture]) -> Iterator[str]:
    limits = {picture.limits for picture in kind}
    every = f", {kind[0].limits}" if len(limits) == 1 and kind[0].limits else ""
    yield f'<p class="soft">{escape(kind[0].kind)}{escape(every)}</p><div class="row">'
    for t, picture in enumerate(kind):
        words = ", ".join(_date(source, row, t))
        own = "" if len(limits) == 1 else f"; {picture.limits}"
        alt = f"{source.modality.name}, {picture.kind}, {words}"
        yield figure(picture.pixels, alt, words + own)
    yield "</div>"


def _date(source: Source, row: int, t: int) -> Iterator[str]:
    columns = source.columns
    time = columns.time[row, t]
    yield f"date {t}"
    if time != NO_TIME:
        yield str(np.datetime64(int(time), "ns").astype("datetime64[D]"))
        yield SEASONS[int(season(time, columns.lat[row]))]
    if np.isfinite(columns.cloud[row, t]):
        yield f"{columns.cloud[row, t]:.0%} cloud"


def _mask(seen: Seen, source: Source, row: int) -> Iterator[str]:
    """The cloud masks that lie beside a modality's pixels, unless they were shown before."""
    if not isinstance(source, ZarrSource) or source.array == CLOUD_MASK:
        return
    name = source.modality.name
    beside = others(name, source)[0].get(f"{name}/{CLOUD_MASK}")
    if beside is None:
        return
    m = beside.modality
    pixels = np.empty(m.shape, m.dtype)
    beside.read(row, range(m.timestamps), pixels, Stages())
    same = next((n for n, p in seen._masks.items() if np.array_equal(p, pixels)), None)
    if same is not None:
        yield f'<p class="soft">cloud mask: that of {escape(same)}</p>'
        return
    seen._masks[name] = pixels
    yield from _row(beside, row, [Picture("cloud mask", mask(p[0]), "") for p in pixels])
    keys = "".join(f'<li><span style="background:{c}"></span>{n}</li>' for n, c in MASK)
    yield f'<ul class="keys">{keys}</ul>'


def _bands(name: str, found: list[dict[str, Any]]) -> str:
    heads = "".join(f"<th>{h}</th>" for h in ("band", "min", "mean", "max", "no number"))
    rows = "".join(
        f"<tr><td>{escape(row['band'])}</td>"
        + "".join(f"<td>{number(row[k])}</td>" for k in ("min", "mean", "max"))
        + f"<td>{row['not_finite']}</td></tr>"
        for row in found
    )
    return (
        f'<details><summary class="soft">bands of {escape(name)} in this sample</summary>'
        f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _views(seen: Seen) -> Iterator[str]:
    if not seen.recipe:
        return
    yield f"<h2>Views of recipe {escape(seen.recipe)}</h2>"
    yield from (f'<p class="soft">{escape(note)}</p>' for note in seen.notes)
    for shown in seen.views:
        yield f"<h3>Epoch {shown.epoch}, view {shown.view}</h3>"
        yield f'<p class="soft">{escape(", ".join(shown.words))}</p><div class="row">'
        yield _cropped(seen, shown)
        for name, images in shown.pictures.items():
            for t, image in enumerate(images):
                words = name if len(images) == 1 else f"{name}, date {t}"
                alt = f"View {shown.view} of epoch {shown.epoch}: {words}"
                yield figure(image, alt, words)
        yield "</div>"


def _cropped(seen: Seen, shown: Shown) -> str:
    """The source picture with the crop's frame."""
    if not seen._first:
        return ""
    image = seen._first[min(max(shown.timestamp, 0), len(seen._first) - 1)].pixels
    H, W, _ = image.shape
    top, left, height, width = shown.box
    said = f"Source of view {shown.view} of epoch {shown.epoch} with the frame of its crop"
    return (
        f'<figure><svg class="crop" viewBox="0 0 {W} {H}" role="img" aria-label="{said}">'
        f'<image href="{data_uri(image)}" width="{W}" height="{H}"/>'
        f'<rect x="{left}" y="{top}" width="{width}" height="{height}"/></svg>'
        f"<figcaption>source and crop</figcaption></figure>"
    )
