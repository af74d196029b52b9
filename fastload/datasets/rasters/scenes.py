"""The table of a tree of files: the scenes of each sample, when, where and named how."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from fastload.storage.dates import NO_TIME

BAND = "*"
"""What stands in a scene's path for its file's own part, such as a band's name."""

KEPT = "fastload.scenes-*"
"""How the files are called that keep tables."""


class Scene(NamedTuple):
    """A sample on one date.

    Attributes:
        key: of the sample.
        time: ns since 1970, or `NO_TIME`.
        path: of its files in the store, `BAND` standing for what they differ in; "" where it is
            known of the sample alone that there is nothing.
    """

    key: str
    time: int
    path: str


@dataclass(frozen=True)
class Scenes:
    """The scenes of N samples, of T dates at most, by date and then by path.

    Attributes:
        key: bytes ``[N]``, UTF-8, each once, sorted.
        lon, lat: float64 ``[N]``, degrees; NaN where unknown.
        time: int64 ``[N, T]``, ns since 1970; `NO_TIME` where unknown, and as padding.
        path: bytes ``[N, T]``, see `Scene`; nothing as padding.
        origin: what it was made of and by which settings; another one makes it stale.
        odd: names of things that were passed over.
        files: what stands for `BAND` in paths, as far as listing told it.
    """

    key: NDArray[np.bytes_]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    time: NDArray[np.int64]
    path: NDArray[np.bytes_]
    origin: Mapping[str, Any]
    odd: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.key)

    @property
    def dates(self) -> NDArray[np.int32]:
        """How many scenes each sample has ``[N]``; 0 for none."""
        return np.asarray(np.count_nonzero(self.path, axis=1), np.int32)

    def some(self, rows: NDArray[Any]) -> Self:
        """Those of some samples, by number or mask; as many dates as any of them has."""
        T = int(self.dates[rows].max(initial=0))
        return replace(
            self, key=self.key[rows], lon=self.lon[rows], lat=self.lat[rows],
            time=self.time[rows, :T], path=self.path[rows, :T],
        )  # fmt: skip


def table(
    scenes: Iterable[Scene],
    origin: Mapping[str, Any],
    odd: Sequence[str] = (),
    files: Sequence[str] = (),
) -> Scenes:
    """The table of scenes in any order; places are unknown yet."""
    ordered = sorted(scenes)
    samples = {key: [s for s in some if s.path] for key, some in groupby(ordered, lambda s: s.key)}
    N, T = len(samples), max(map(len, samples.values()), default=0)
    time = np.full((N, T), NO_TIME, np.int64)
    path = np.full((N, T), b"", f"S{max((len(s.path.encode()) for s in ordered), default=1) or 1}")
    for i, some in enumerate(samples.values()):
        time[i, : len(some)] = [s.time for s in some]
        path[i, : len(some)] = [s.path.encode() for s in some]
    key = np.array([key.encode() for key in samples] or [], np.bytes_)
    nowhere = np.full(N, np.nan)
    return Scenes(key, nowhere, nowhere.copy(), time, path, dict(origin), tuple(odd), tuple(files))
