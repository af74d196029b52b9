"""Further columns of joined samples, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import Columns, Source

CLOUD = "cloud"


def chosen(
    names: Sequence[str],
    sources: Mapping[str, Source],
    rows: Mapping[str, NDArray[np.int64] | None],
) -> dict[str, NDArray[Any]]:
    """The columns of some names ``[N]`` or ``[N, T]`` in the joined order, each of the first source
    that has it.

    Args:
        names: "cloud", or those of `Columns.extra`.
        sources: by modality.
        rows: of the joined samples in each source; None for all.

    Raises:
        ValueError: lists what is there.
    """
    if isinstance(names, str):
        raise ValueError(f"columns must be a list of names, got {names!r}")
    out = {}
    for name in names:
        found = next((m for m, s in sources.items() if name in _all(s.columns)), None)
        if found is None:
            there = sorted({n for s in sources.values() for n in _all(s.columns)})
            raise ValueError(f"there is no column {name!r}, expected some of {there}")
        take, column = rows[found], _all(sources[found].columns)[name]
        out[name] = column if take is None else column[take]
    return out


def _all(columns: Columns) -> dict[str, NDArray[Any]]:
    return {CLOUD: columns.cloud, **columns.extra}
