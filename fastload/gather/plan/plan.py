"""Where and when to look: the plan of a data set, a function of its settings."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fastload.gather.candidate import Candidate, Window
from fastload.gather.plan.apart import Kept
from fastload.gather.plan.draws import E7, Fixed, Ints, Places
from fastload.gather.plan.land import Test, land
from fastload.gather.plan.laws import LAWS, Law
from fastload.gather.plan.settings import Settings
from fastload.gather.plan.windows import windows
from fastload.gather.say import Say, warn

BLOCK = 1024
"""Locations that are drawn at once; nothing but memory depends on it."""
MORE = 1024
"""Further draws of a location that used up its own."""
MOST = 100_000
"""Draws of one location before it is given up."""


@dataclass(frozen=True, eq=False)
class Plan:
    """N locations with K candidates each, D dates a candidate, as arrays.

    Attributes:
        settings: what it is a function of.
        sources: the files and packages that it was made from, with licences and checksums.
        names: of the law's cities, by number.
        attempt: ``[N, K]`` int32, number of the candidate's draw.
        lon7, lat7: ``[N, K]`` int32, the patch's centre in 1e-7 degrees.
        city: ``[N, K]`` int32, number of the candidate's city; -1 where the law has none.
        days: ``[N, K, D, 2]`` int32, each window's first day and the day after its last, since
            1970.
    """

    settings: Settings
    sources: dict[str, Any]
    names: tuple[str, ...]
    attempt: Fixed
    lon7: Fixed
    lat7: Fixed
    city: Fixed
    days: Fixed

    def __len__(self) -> int:
        return len(self.attempt)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        pairs = [(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)]
        return all(np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b for a, b in pairs)

    __hash__ = None  # type: ignore[assignment]

    @property
    def lon(self) -> NDArray[np.float64]:
        """Longitudes ``[N, K]`` in degrees."""
        return np.asarray(self.lon7 / E7)

    @property
    def lat(self) -> NDArray[np.float64]:
        """Latitudes ``[N, K]`` in degrees."""
        return np.asarray(self.lat7 / E7)

    def key(self, i: int) -> str:
        """Key of location i's sample."""
        return f"{i:07d}"

    def candidates(self, i: int) -> tuple[Candidate, ...]:
        """Location i's candidates, in the order in which they are tried."""
        days = self.days[i].astype("datetime64[D]")
        return tuple(
            Candidate(
                i,
                int(self.attempt[i, k]),
                float(self.lon7[i, k] / E7),
                float(self.lat7[i, k] / E7),
                tuple(Window(start, end) for start, end in days[k]),
            )
            for k in range(self.attempt.shape[1])
        )

    def describe(self) -> dict[str, Any]:
        """Settings and sources as JSON has them."""
        return {"settings": self.settings.describe(), "sources": self.sources}


def make(settings: Settings, *, say: Say = warn, progress: bool = False) -> Plan:
    """Draw a plan.

    Locations are settled in their order, each from its own sequence of draws, so that a plan of
    fewer is the head of a plan of more. Where the settings ask for it, each candidate keeps apart
    from all before it, also from those of its own location: a location that takes its third one
    is in nobody's way.

    Args:
        settings: what is wanted.
        say: is told what a user should know, such as that a short list of cities is used.
        progress: show a bar.

    Raises:
        ValueError: on bad files, and where there is no room for so many patches.
        ImportError: names what to install.
    """
    law = LAWS[settings.law].make(settings, say)
    on_land, told = land(settings.land) if settings.land else (None, None)
    sources = {**law.sources, **({"land": told} if told else {})}
    made = _Making(settings, law, on_land, _locations(settings, law))
    with tqdm(total=made.N, disable=not progress, unit=" locations") as bar:
        for rows in made.blocks():
            made.settle(rows)
            bar.update(len(rows))
    del made.kept  # a third of all memory
    return Plan(settings, sources, law.names, made.attempt, *made.places(), made.days())


def _locations(settings: Settings, law: Law) -> int:
    """How many locations there are.

    Raises:
        ValueError: where a file has fewer than were asked for.
    """
    asked = settings.locations or law.most
    assert asked is not None  # the settings have seen to it
    if law.most is not None and asked > law.most:
        raise ValueError(
            f"{settings.places}: has {law.most} places, {asked} locations are asked for"
        )
    return asked


class _Making:
    """A plan while it is made."""

    def __init__(self, settings: Settings, law: Law, on_land: Test | None, N: int) -> None:
        assert settings.candidates is not None  # filled in by the settings
        self.settings, self.law, self.on_land = settings, law, on_land
        self.N, self.K = N, settings.candidates
        self.attempt = np.empty((N, self.K), np.int32)
        self.kept = Kept(settings.side, bool(settings.apart), N * self.K)
        self._tries = self.K + 1

    def blocks(self) -> Iterator[Ints]:
        """Numbers of locations, some at a time."""
        yield from np.split(np.arange(self.N), np.arange(BLOCK, self.N, BLOCK))

    def settle(self, rows: Ints) -> None:
        """Find the candidates of some locations."""
        out = self.attempt[rows[0] : rows[-1] + 1]
        first, drawn = 0, self._draw(rows, 0, self._tries)
        while first < len(out):
            first, have = self.kept.settle(drawn, 0, first, 0, out)
            if first < len(out):
                self._settle_further(int(rows[first]), have, out[first : first + 1])
                first += 1
        # Most of the next ones shall find theirs among their first draws.
        self._tries = min(MORE, int(np.quantile(out[:, -1], 0.99)) + 2)

    def _settle_further(self, row: int, have: int, out: Fixed) -> None:
        """Find the rest of one location's candidates, after its first draws."""
        start, done = self._tries, 0
        while not done:
            if start >= MOST:
                fewer = f"at most {row} locations, for " if row else ""
                raise ValueError(
                    f"location {row} found {have} of {self.K} candidates in {start} draws: there "
                    f"is hardly room for more; ask for {fewer}fewer candidates or a wider area"
                )
            count = min(MORE, MOST - start)
            drawn = self._draw(np.array([row]), start, count)
            done, have = self.kept.settle(drawn, start, 0, have, out)
            start += count

    def _draw(self, rows: Ints, attempt: int, count: int) -> Places:
        """`count` attempts of each location, ``[B * count]``."""
        location = np.repeat(rows, count)
        drawn = self._drawn(location, np.tile(np.arange(attempt, attempt + count), len(rows)))
        if self.on_land is None:
            return drawn
        ok = drawn.ok.copy()
        ok[ok] = self.on_land(drawn.lon[ok] / E7, drawn.lat[ok] / E7)
        return drawn._replace(ok=ok)

    def _drawn(self, location: Ints, attempt: Ints) -> Places:
        return self.law.draw(self.settings.seed, location, attempt)

    def _pairs(self) -> Iterator[tuple[slice, Ints, Ints]]:
        """Location and attempt of all candidates, some locations at a time."""
        for rows in self.blocks():
            block = slice(int(rows[0]), int(rows[-1]) + 1)
            yield block, np.repeat(rows, self.K), self.attempt[block].ravel().astype(np.int64)

    def places(self) -> tuple[Fixed, Fixed, Fixed]:
        """Longitude, latitude and city of all candidates, drawn again."""
        lon, lat, city = (np.empty((self.N, self.K), np.int32) for _ in range(3))
        for block, location, attempt in self._pairs():
            drawn = self._drawn(location, attempt)
            for out, values in zip((lon, lat, city), drawn, strict=False):
                out[block] = values.reshape(-1, self.K)
        return lon, lat, city

    def days(self) -> Fixed:
        """Windows of all candidates."""
        one = windows(self.settings, np.zeros(1, np.int64), np.zeros(1, np.int64))
        out = np.empty((self.N, self.K, *one.shape[1:]), np.int32)
        for block, location, attempt in self._pairs():
            out[block] = windows(self.settings, location, attempt).reshape(out[block].shape)
        return out
