"""When: rules that give each candidate its windows of dates. A new one is a line in `DATES`."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastload.gather.plan.draws import DATE, Fixed, Ints, words
from fastload_kernels.philox import choice

if TYPE_CHECKING:
    from fastload.gather.plan.settings import Settings

SSL4EO = ("2020-12-21", "2021-03-20", "2021-06-21", "2021-09-22")
GENERALISED = ("2021-03-20", "2021-06-21", "2021-09-22", "2021-12-21")
SHIFTS = 365
"""A shift is of 0 to 364 whole days."""
SEASONS_A_YEAR = 4
SHORTEST_SEASON = 90
"""Days from December to February, where no leap day is added."""


def windows(settings: "Settings", location: Ints, attempt: Ints) -> Fixed:
    """First day, and the day after the last, of each candidate's dates, in days since 1970.

    Args:
        settings: name the rule.
        location, attempt: ``[M]``.

    Returns:
        ``[M, D, 2]``, a function of the seed and each candidate's two numbers, dates ascending.
    """
    return DATES[settings.dates or ""](settings, location, attempt)


def _ssl4eo_v1(settings: "Settings", location: Ints, attempt: Ints) -> Fixed:
    """Four fixed days less a random shift, and 15 days before and after: so at the earliest
    2019-12-08, and at the latest 2021-10-06. Only five in six places get four seasons by it."""
    shift = _shift(settings.seed, location, attempt)
    return _around(_days(SSL4EO) - shift[:, None], 15, 15)


def _seco(settings: "Settings", location: Ints, attempt: Ints) -> Fixed:
    """Four weeks ago and 12, 24, 36 and 48 weeks before that, less a random shift.

    Published: 7.5 days before and after the moment at which the program runs, both cut to days.
    Here the day is stated and its moment is midnight, so that a plan can be made again; 7.5 days
    before is then the noon of the eighth day before, which is cut to that day.
    """
    weeks = 4 + 12 * np.arange(4, -1, -1)
    day = _days([settings.today or ""]) - 7 * weeks
    return _around(day - _shift(settings.seed, location, attempt)[:, None], 8, 7)


def _generalised(settings: "Settings", location: Ints, attempt: Ints) -> Fixed:
    """Four fixed days of 2021 without a shift.

    Published: each window is joined with that of the year before, whose scenes are taken only where
    the later one has none, as the newest is kept. A candidate has one window a date; where it has
    no scene, the location goes on to its next candidate.
    """
    half = settings.window_days / 2
    day = np.broadcast_to(_days(GENERALISED), (len(location), len(GENERALISED)))
    return _around(day, int(np.ceil(half)), int(half))


def _seasons(settings: "Settings", location: Ints, attempt: Ints) -> Fixed:
    """A window inside each of four seasons in a row, the first of which is drawn.

    Seasons are meteorological; that of December to February is of its January's year. The southern
    ones are those of the north under other names, so that four in a row are one each on both sides
    of the equator.
    """
    first, last = settings.years
    start = _starts(SEASONS_A_YEAR * (last + 1 - first) + 1, first)
    runs = len(start) - SEASONS_A_YEAR
    word = words(settings.seed, DATE, location, attempt)
    season = choice(word[:, 0], runs)[:, None] + np.arange(SEASONS_A_YEAR)
    room = start[season + 1] - start[season] - settings.window_days + 1
    day = words(settings.seed, DATE, location, attempt, block=1)
    return _around(start[season] + choice(day, room), 0, settings.window_days)


def _starts(count: int, year: int) -> Ints:
    """First days of so many seasons from a year's winter on, and of none after."""
    december = np.datetime64(f"{year - 1:04d}-12", "M")
    return (december + 3 * np.arange(count)).astype("datetime64[D]").astype(np.int64)


def _days(dates: Sequence[str]) -> Ints:
    return np.array(dates, "datetime64[D]").astype(np.int64)


def _shift(seed: int, location: Ints, attempt: Ints) -> Ints:
    return choice(words(seed, DATE, location, attempt)[:, 0], SHIFTS)


def _around(day: Ints, before: int, after: int) -> Fixed:
    return np.stack([day - before, day + after], axis=-1).astype(np.int32)


Rule = Callable[["Settings", Ints, Ints], NDArray[np.int32]]
DATES: dict[str, Rule] = {
    "seasons": _seasons,
    "ssl4eo-v1": _ssl4eo_v1,
    "seco": _seco,
    "generalised": _generalised,
}
