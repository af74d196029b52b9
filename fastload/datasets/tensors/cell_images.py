"""Which images the grid cells of an index have of a modality, and when each was taken."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastload.storage.cell_scan import PATCH, TIME, stacks_of
from fastload.storage.cell_text import place_of
from fastload.storage.dates import NO_TIME
from fastload.storage.index import Index

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class CellImages:
    """The images of one modality in K of the index's cells.

    Attributes:
        row: int64 ``[K]``, of the cells in the index.
        time: int64 ``[K, P, D]``, ns since 1970, for the most patches and dates that a cell has.
        there: bool ``[K, P, D]``, which of these are images.
        number: int64 ``[K, P, D]``, of an image among those of its cell.
        patch: bytes ``[K, P]``, what each patch is called; its number where nobody says it.
        has_patches: whether the modality is of local patches.
    """

    row: Ints
    time: Ints
    there: NDArray[np.bool_]
    number: Ints
    patch: NDArray[np.bytes_]
    has_patches: bool

    @cached_property
    def counts(self) -> Ints:
        """How many patches each cell has ``[K]``."""
        return np.asarray(self.there.any(axis=2).sum(axis=1))


def cell_images(index: Index, name: str, repeats: bool) -> CellImages:
    """The images of a modality.

    Args:
        index: see `cell_scan`.
        name: of the modality.
        repeats: whether the images count that repeat an earlier one of their patch. The published
            files fill up patches of fewer dates so, at their end.
    """
    stacks = [stacks_of(layout).get(name) for layout in index.layouts]
    size = np.array([stack.shape[:2] if stack else (0, 0) for stack in stacks], np.int64)
    P, D = (int(n) for n in size.max(axis=0, initial=0))
    row = np.flatnonzero(size[index.layout, 0] > 0)
    patches, dates = size[index.layout[row]].T
    there = (np.arange(P) < patches[:, None])[:, :, None] & np.ones(D, bool)
    there &= (np.arange(D) < dates[:, None])[:, None]
    number = np.arange(P)[None, :, None] * dates[:, None, None] + np.arange(D)
    time = _times(index, name, row, number, there)
    if not repeats:
        there &= ~_repeated(time, dates)
    has_patches = any(stack.patches for stack in stacks if stack)
    return CellImages(row, time, there, number, _patch_names(index, name, row, P), has_patches)


def _times(index: Index, name: str, row: Ints, number: Ints, there: NDArray[np.bool_]) -> Ints:
    """Dates as the index has them, by the images' numbers."""
    out = np.full(number.shape, NO_TIME, np.int64)
    column = index.extra.get(TIME + name)
    if column is None:
        return out
    known = there & (number < column.shape[1])
    cell = np.broadcast_to(row[:, None, None], number.shape)[known]
    found = column[cell, number[known]]
    out[known] = np.where(found < 0, NO_TIME, found)
    return out


def _repeated(time: Ints, dates: Ints) -> NDArray[np.bool_]:
    """Those at the end of a patch whose date an earlier image of it has ``[K, P, D]``; `dates`
    ``[K]`` are there."""
    out = np.zeros(time.shape, bool)
    still = np.ones(time.shape[:2], bool)
    for d in range(time.shape[2] - 1, 0, -1):
        earlier = (time[:, :, :d] == time[:, :, d : d + 1]).any(axis=2)
        beyond = (d >= dates)[:, None]
        out[:, :, d] = still & ~beyond & earlier & (time[:, :, d] != NO_TIME)
        still &= out[:, :, d] | beyond
    return out


def _patch_names(index: Index, name: str, row: Ints, P: int) -> NDArray[np.bytes_]:
    numbers = np.arange(P).astype(np.bytes_)
    column = index.extra.get(PATCH + name)
    if column is None:
        return np.broadcast_to(numbers, (len(row), P))
    known = np.zeros((len(row), P), column.dtype)
    shared = min(P, column.shape[1])
    known[:, :shared] = column[row, :shared]
    return np.where(known == b"", numbers[None], known)


def patch_places(patch: NDArray[np.bytes_]) -> NDArray[np.float64]:
    """Longitude and latitude of patches ``[N]`` by their names, ``[N, 2]``; NaN where they do not
    tell them."""
    out = np.full((len(patch), 2), np.nan)
    names, number = np.unique(patch, return_inverse=True)
    for i, text in enumerate(names.tolist()):
        try:
            out[i] = place_of(text.decode())[1:]
        except ValueError:
            continue
    return out[: len(names)][number]
