"""Sources of several modalities as one: joined by key, their dates side by side."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.agree import nearest, report
from fastload.datasets.columns import chosen
from fastload.datasets.join import join
from fastload.datasets.source import Source
from fastload.datasets.zarrs.zarr_source import ZarrSource

Rows = Mapping[str, NDArray[np.int64] | None]


class Joined(NamedTuple):
    """What a `Dataset` takes: see there."""

    sources: dict[str, Source]
    rows: Rows
    extras: dict[str, NDArray[Any]]


def check_options(missing: Any, align: Any) -> None:
    """Compare arguments of a layout with what `join_sources` takes.

    Raises:
        ValueError: names the argument.
    """
    if missing not in ("error", "drop"):
        raise ValueError(f"missing must be 'error' or 'drop', got {missing!r}")
    if align not in (None, "nearest"):
        raise ValueError(f"align must be None or 'nearest', got {align!r}")


def join_sources(
    sources: Mapping[str, Source],
    missing: str = "error",
    align: str | None = None,
    columns: Sequence[str] = (),
    own_columns: Sequence[str] = (),
) -> Joined:
    """Join sources by key; dates that are far apart at an index are reported.

    Args:
        sources: by modality, the first is the reference.
        missing, align, columns: as `fastload.SSL4EOS12` has them.
        own_columns: further columns, which the layout keeps unasked.

    Raises:
        ValueError: where keys or columns are missing.
    """
    sources = dict(sources)
    rows = join({name: source.columns.key for name, source in sources.items()}, missing)
    if align is not None:
        sources = _aligned(sources, rows)
    report({n: _of(s.columns.time, rows[n]) for n, s in sources.items()}, align is not None)
    asked = chosen(columns, sources, rows)
    return Joined(sources, rows, asked | chosen(own_columns, sources, rows))


def _of(values: NDArray[Any], rows: NDArray[np.int64] | None) -> NDArray[Any]:
    return values if rows is None else values[rows]


def _aligned(sources: dict[str, Source], rows: Rows) -> dict[str, Source]:
    """Further modalities with their timestamps by the dates of the first."""
    first, *others = sources
    out, T = dict(sources), sources[first].modality.timestamps
    times = _of(sources[first].columns.time, rows[first])
    for name in others:
        source, mine = sources[name], rows[name]
        if T == 1 or source.modality.timestamps != T or not isinstance(source, ZarrSource):
            continue
        order = np.tile(np.arange(T, dtype=np.int8), (len(source), 1))
        some = slice(None) if mine is None else mine
        order[some] = nearest(times, _of(source.columns.time, mine))
        out[name] = source.ordered(order)
    return out
