"""Which requests serve many byte ranges: near ones are joined, long ones are cut."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.storage.store import Ranges


class Piece(NamedTuple):
    """Bytes `start` to before `stop` of a file, which serve the ranges of some numbers.

    A part of a longer range serves that one alone, from its byte `start - offset` on.
    """

    file: int
    start: int
    stop: int
    serves: NDArray[np.int64]


def pieces(ranges: Ranges, gap: int, largest: int) -> list[Piece]:
    """The requests for ranges of more than no bytes, in the order of files and places.

    Ranges of one file whose distance is at most `gap` bytes are joined, as long as that makes no
    more than `largest` bytes; a range that is longer itself is cut into parts.
    """
    order = np.lexsort((ranges.offset, ranges.file))
    order = order[ranges.size[order] > 0]
    found: list[Piece] = []
    open_, members = (-1, 0, 0), list[int]()
    for i in order.tolist():
        file, start = int(ranges.file[i]), int(ranges.offset[i])
        stop = start + int(ranges.size[i])
        joined = (file, open_[1], max(stop, open_[2]))
        near = members and file == open_[0] and start - open_[2] <= gap
        if near and joined[2] - joined[1] <= largest:
            open_ = joined
            members.append(i)
            continue
        found += _cut(*open_, members, largest)
        open_, members = (file, start, stop), [i]
    return found + _cut(*open_, members, largest)


def _cut(file: int, start: int, stop: int, members: list[int], largest: int) -> list[Piece]:
    """A piece, or the parts of the only range that it serves."""
    if not members:
        return []
    serves = np.array(members, np.int64)
    count = -(-(stop - start) // largest)
    bounds = np.linspace(start, stop, count + 1).astype(np.int64).tolist()
    return [Piece(file, a, b, serves) for a, b in pairwise(bounds)]
