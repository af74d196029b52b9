"""The parts of the page on bands, and the pictures."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastload.gather.report.pixels import Example
from fastload.inspect.describe import number
from fastload.inspect.html import figure, soft, table
from fastload.inspect.maps import degrees

MEASURED = ("mean", "std", "min", "p1", "p50", "p99", "max")


def bands(found: Mapping[str, Any]) -> Iterator[str]:
    """Statistics beside the published ones."""
    yield "<h2>Bands</h2>"
    if not found["samples"]:
        yield soft("There is no shard to measure.")
        return
    yield soft(
        f"Of {found['samples']:,} samples with all their dates, from {found['shards']:,} of "
        f"{found['of_shards']:,} shards, chosen by seed {found['seed']}. Pixels without data are "
        "left out."
    )
    for name, about in found["modalities"].items():
        yield f"<h3>{escape(name)}</h3>"
        beside = ("published mean", "published std") if about["published"] else ()
        rows = [_row(row, bool(beside)) for row in about["bands"]]
        heads = ("band", *MEASURED, "left out", *beside)
        yield table(f"Bands of {name}", heads, rows)
        of = f"Published: {about['published']}." if beside else "v1.1 published none of these."
        yield soft(f"{of} {about['remark']}".rstrip())


def _row(row: Mapping[str, Any], beside: bool) -> tuple[str, ...]:
    published = (row["published_mean"], row["published_std"]) if beside else ()
    cells = [number(row[name]) for name in MEASURED]
    return (row["band"], *cells, f"{row['left_out']:,}", *map(number, published))


def gallery(examples: Sequence[Example], found: Mapping[str, Any]) -> Iterator[str]:
    """Samples in pictures, each date in its own stretch."""
    if not examples:
        return
    yield "<h2>Examples</h2>"
    kind, seed = examples[0].kind, found["seed"]
    yield soft(f"{kind}; chosen by seed {seed}, each date stretched by itself.")
    yield '<div class="cards">'
    for example in examples:
        where = degrees(example.lat, example.lon)
        yield f'<section class="card"><h3>{escape(example.key)}</h3>'
        yield f'{soft(where)}<div class="pair">'
        for date in example.dates:
            yield figure(date.image, f"{example.key}, {date.words}", date.words)
        yield "</div></section>"
    yield "</div>"
