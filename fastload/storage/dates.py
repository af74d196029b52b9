"""Dates as a group has them, in the units that it says."""

import math
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

NO_TIME = np.iinfo(np.int64).min
"""An unknown date, which is NumPy's NaT; it also pads samples with fewer timestamps."""

_LAST = np.iinfo(np.int64).max
_NS = {
    "day": 86_400_000_000_000, "hour": 3_600_000_000_000, "minute": 60_000_000_000,
    "second": 1_000_000_000, "millisecond": 1_000_000, "microsecond": 1000, "nanosecond": 1,
}  # fmt: skip
_SHORT = {
    "d": "day", "D": "day", "h": "hour", "hr": "hour", "m": "minute", "min": "minute",
    "s": "second", "sec": "second", "ms": "millisecond", "us": "microsecond", "ns": "nanosecond",
}  # fmt: skip
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian")
_SINCE = re.compile(
    r"(?P<unit>[a-zA-Z]+) +since +(?P<date>\d{4}-\d{1,2}-\d{1,2})"
    r"(?:[T ]+(?P<time>\d{1,2}:\d{2}(?::\d{2})?)(?P<fraction>\.\d{1,9})?)?"
    r" *(?:Z|UTC|[+-]00:?00)?"
)
_EPOCH = datetime(1970, 1, 1)


def to_ns(
    values: NDArray[Any], attributes: Mapping[str, Any], fill_value: Any = 0
) -> NDArray[np.int64]:
    """Dates ``[T]`` in ns since 1970.

    No satellite image is from before 1970, so that 0 (which DEM has, and what was never written),
    negative numbers, NaT and NaN are unknown dates: `NO_TIME`.

    Args:
        values: numbers, or datetime64 of any unit; any shape.
        attributes: of the array; `units` such as "days since 2020-01-01" and `calendar` are what
            xarray writes. Numbers without units are ns since 1970.
        fill_value: of the array; unless it is 0 it is an unknown date, too.

    Raises:
        ValueError: where units or calendar are unknown, or a date is beyond the year 2262.
    """
    if values.dtype.kind == "M":
        unit, count = np.datetime_data(values.dtype)
        step, start = _NS[_SHORT[unit]] * count, 0
        values, fill_value = values.astype(np.int64), 0
    else:
        step, start = _units(attributes)
    unknown = {fill_value, attributes.get("_FillValue")} - {0, None}
    flat = [_ns(v, step, start, v in unknown) for v in values.ravel().tolist()]
    return np.array(flat, np.int64)


def _ns(value: float, step: int, start: int, is_unknown: bool) -> int:
    if is_unknown or value == NO_TIME or math.isnan(value):
        return NO_TIME
    if math.isinf(value) or (ns := start + round(value * step)) > _LAST:
        raise ValueError(f"time {value} lies beyond the year 2262")
    return ns if ns > 0 else NO_TIME


def _units(attributes: Mapping[str, Any]) -> tuple[int, int]:
    """Nanoseconds of a unit, and of its zero since 1970."""
    units, calendar = attributes.get("units"), attributes.get("calendar", _CALENDARS[0])
    if calendar not in _CALENDARS:
        raise ValueError(
            f"the calendar of time must be one of {list(_CALENDARS)}, got {calendar!r}"
        )
    return (1, 0) if units is None else _since(units)


@lru_cache(64)
def _since(units: str) -> tuple[int, int]:
    found = _SINCE.fullmatch(units.strip()) if isinstance(units, str) else None
    unit = found and (_SHORT.get(found["unit"]) or found["unit"].lower().removesuffix("s"))
    if found is None or unit not in _NS:
        raise ValueError(
            "the units of time must be such as 'days since 1970-01-01' or "
            f"'seconds since 1970-01-01 00:00:00', in UTC, got {units!r}"
        )
    date, clock = found["date"], found["time"] or "0:00:00"
    clock += ":00" * (2 - clock.count(":"))
    passed = datetime.strptime(f"{date} {clock}", "%Y-%m-%d %H:%M:%S") - _EPOCH
    fraction = int((found["fraction"] or ".0")[1:].ljust(9, "0"))
    return _NS[unit], passed // timedelta(microseconds=1) * 1000 + fraction
