"""Looking up the chunks of a whole batch, compiled: which cells of a grid hold some timestamps."""

from fastload.datasets.source import FRAME, OTHER
from fastload.storage.formats.zip import DEFLATED
from fastload_kernels.compiled import jit

_jit = jit()


@_jit
def count_cells(wanted, depth):  # type: ignore[no-untyped-def]
    """How many groups of `depth` timestamps hold a wanted one; `wanted` is bool ``[b, T]``."""
    found = 0
    for b in range(wanted.shape[0]):
        for t in range(0, wanted.shape[1], depth):
            found += wanted[b, t : t + depth].any()
    return found


@_jit
def fill_cells(  # type: ignore[no-untyped-def]
    wanted, depth, each, cells, slots, first, places, layout, plain, rows
):
    """Fill the `CHUNK` rows of samples ``[b]`` that share a layout.

    Args:
        wanted: bool ``[b, T]``.
        depth: timestamps of a chunk.
        each: chunks of a group of timestamps.
        cells: chunks that each sample has; of what lies beyond there are no bytes.
        slots, first: int64 ``[b]``, the slot of each sample, and its first row in `places`.
        places: the index's chunks.
        layout: number of the layout.
        plain: whether a chunk, if it has bytes and is not deflated, is a `FRAME`.
        rows: as many as `count_cells` says, times `each`.
    """
    n = 0
    for b in range(wanted.shape[0]):
        for t in range(0, wanted.shape[1], depth):
            if not wanted[b, t : t + depth].any():
                continue
            for k in range(each):
                cell = t // depth * each + k
                row = rows[n]
                n += 1
                row.slot, row.timestamp, row.cell, row.layout = slots[b], t, cell, layout
                if cell >= cells:
                    row.file = row.offset = row.stored = row.size = 0
                    row.crc = row.method = row.codec = 0  # that is OTHER
                    continue
                place = places[first[b] + cell]
                row.file, row.offset, row.stored = place.file, place.offset, place.stored
                row.size, row.crc, row.method = place.size, place.crc, place.method
                frame = plain and place.stored > 0 and place.method != DEFLATED
                row.codec = FRAME if frame else OTHER
