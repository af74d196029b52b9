"""How the chunks of a source are compressed, as its first chunk says."""

import numpy as np

from fastload.datasets.source import ChunkedSource, Source
from fastload.profile import Stages
from fastload.storage.errors import DataError

_BLOSC = {0: "blosclz", 1: "lz4", 2: "snappy", 3: "zlib", 4: "zstd"}
"""By the upper bits of a frame's flags, see the Blosc 1 format's description."""


def codec_of(source: Source) -> str:
    """A name such as "blosc lz4, byte shuffle"; the array header's where chunks are no frames, and
    "unknown" where the source does not tell."""
    if not isinstance(source, ChunkedSource) or not len(source):
        return "unknown"
    wanted = np.zeros((1, source.modality.timestamps), bool)
    wanted[0, 0] = True
    spec = getattr(source, "spec", None)
    named = str(spec(0).codec.name) if callable(spec) else "unknown"
    rows = source.chunks(np.array([0]), wanted).rows
    rows = rows[rows["stored"] >= 16][:1]
    if named not in ("blosc", "unknown") or not len(rows):
        return named
    try:
        [data] = source.fetch(0, rows, np.empty(int(rows["stored"][0]), np.uint8), Stages())
    except DataError:
        return named
    return named if data is None or named == "unknown" else _frame(data)


def _frame(head: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> str:
    flags = int(head[2])
    shuffle = "byte shuffle" if flags & 1 else "bit shuffle" if flags & 4 else "no shuffle"
    return f"blosc {_BLOSC.get(flags >> 5, 'unknown')}, {shuffle}"
