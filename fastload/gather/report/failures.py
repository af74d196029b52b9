"""The figures of candidates that did not fit."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastload.gather.report.locations import WHOLE, Locations

BAND_D = 15
"""Degrees of latitude that are told apart."""


def failures(found: Locations) -> dict[str, Any]:
    """How many candidates were tried, and why some did not fit; in all and by bands of latitude."""
    tries = np.bincount(found.tries[found.state == WHOLE]).tolist()
    return {
        "tried": int(found.tries.sum()),
        "reasons": dict(Counter(found.failed).most_common()),
        "by_latitude": list(_bands(found)),
        "fitted_at": {str(k): n for k, n in enumerate(tries) if k and n},
    }


def _bands(found: Locations) -> Iterator[dict[str, Any]]:
    fitted = _counts(found.lat[found.state == WHOLE])
    failed: dict[int, Counter[str]] = {}
    for band, reason in zip(_band(np.array(found.failed_lat)), found.failed, strict=True):
        failed.setdefault(band, Counter())[reason] += 1
    for band in sorted({*fitted, *failed}, reverse=True):
        reasons = failed.get(band, Counter())
        yield {
            "south": band * BAND_D,
            "north": (band + 1) * BAND_D,
            "tried": fitted[band] + reasons.total(),
            "fitted": fitted[band],
            "reasons": dict(reasons.most_common()),
        }


def _band(lat: np.ndarray[Any, np.dtype[np.float64]]) -> list[int]:
    """Number of the band of each latitude; a pole is in the last one."""
    last = 90 // BAND_D
    found: list[int] = np.clip(np.floor(lat / BAND_D), -last, last - 1).astype(int).tolist()
    return found


def _counts(lat: np.ndarray[Any, np.dtype[np.float64]]) -> Counter[int]:
    return Counter(_band(lat))
