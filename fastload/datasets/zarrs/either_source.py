"""A modality that is one of several for each sample: pixels from whichever there is."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import ChunkedSource, Columns, Kinds, Modality, Source
from fastload.datasets.union_source import UnionChunks, UnionSource


def kind_column(name: str) -> str:
    """The column that says of which kind each sample of a modality is."""
    return f"{name}_kind"


def either(name: str, sources: Mapping[str, Source]) -> Source:
    """Sources of several modalities as one, whose samples are those of all.

    Its column ``{name}_kind`` is text ``[N]``, the modality that each sample is of, and a
    radiometry takes that one's statistics (see `Kinds`).

    Args:
        name: of the modality that they make.
        sources: by modality; no key is in two of them.

    Raises:
        ValueError: names what they differ in, or the keys that are in several.
    """
    parts = list(sources.values())
    _refuse_twice(name, sources)
    chunked = [part for part in parts if isinstance(part, ChunkedSource)]
    made = UnionChunks(chunked) if len(chunked) == len(parts) else UnionSource(parts)
    of = np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])
    made.modality = _modality(name, [part.modality for part in parts])
    made.kinds = Kinds(tuple(sources), of)
    which = np.array([kind.encode() for kind in sources])[of]
    shared = _shared([part.columns for part in parts])
    made.columns = replace(made.columns, extra=shared | {kind_column(name): which})
    return made


def _modality(name: str, parts: Sequence[Modality]) -> Modality:
    first = parts[0]
    for other in parts[1:]:
        for field in ("shape", "dtype", "band_names", "picked"):
            mine, theirs = getattr(first, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(
                    f"{name}: {first.name} has {field} {mine}, {other.name} has {theirs}; expected "
                    "the same, so that they can share a batch"
                )
    fills = {repr(part.fill_value) for part in parts}
    fill = first.fill_value if len(fills) == 1 else None
    return replace(first, name=name, fill_value=fill)


def _refuse_twice(name: str, sources: Mapping[str, Source]) -> None:
    keys = np.concatenate([source.columns.key for source in sources.values()])
    found, counts = np.unique(keys, return_counts=True)
    twice = found[counts > 1]
    if len(twice):
        some = ", ".join(key.decode() for key in twice[:3])
        raise ValueError(
            f"{name}: {len(twice)} keys are in more than one of {', '.join(sources)}, such as "
            f"{some}; ask for one of these modalities"
        )


def _shared(columns: Sequence[Columns]) -> dict[str, NDArray[Any]]:
    """Further columns that all have, in one form."""
    out = {}
    for name, first in columns[0].extra.items():
        each = [c.extra[name] for c in columns if name in c.extra]
        alike = {(c.dtype.kind, c.shape[1:]) for c in each}
        if len(each) == len(columns) and alike == {(first.dtype.kind, first.shape[1:])}:
            out[name] = np.concatenate(each)
    return out
