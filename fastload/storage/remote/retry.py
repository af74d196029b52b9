"""Asking again: how often, after how long, and when to give up."""

import email.utils
import random
import time
from collections.abc import Callable
from typing import TypeVar

from fastload.storage.remote.settings import Settings
from fastload.storage.remote.trouble import Trouble

T = TypeVar("T")
_CHANCE = random.Random()
"""Of its own: the user's generators are not drawn from."""


def retried(attempt: Callable[[float], T], settings: Settings, patient: bool = True) -> T:
    """Attempt until it goes well, waits growing and jittered in between.

    Args:
        attempt: gets the time, as of `time.monotonic`, by which it must have ended.
        settings: see there.
        patient: False attempts once.

    Raises:
        Trouble: the last one, which says how often was asked.
    """
    end = time.monotonic() + settings.patience
    for number in range(1, settings.attempts + 1):
        try:
            return attempt(min(end, time.monotonic() + settings.request_timeout))
        except Trouble as error:
            wait = _wait(number, error.wait, settings)
            last = number == settings.attempts or not patient
            if last or time.monotonic() + wait >= end:
                asked = "" if error.wait is None else f", which asks to wait {error.wait:g} s"
                times = "once" if number == 1 else f"{number} times"
                raise Trouble(f"{error.reason}{asked}; asked {times}") from error
        time.sleep(wait)
    raise AssertionError


def _wait(number: int, asked: float | None, settings: Settings) -> float:
    """Seconds to wait after an attempt."""
    grown = min(settings.longest_wait, settings.backoff * 2.0 ** (number - 1))
    return max(grown * _CHANCE.uniform(0.5, 1.0), asked or 0.0)


def seconds_of(header: str | None) -> float | None:
    """What `Retry-After` says: seconds, or a date. None where it is not there or makes no sense."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header)
    try:
        when = email.utils.parsedate_to_datetime(header)
    except (TypeError, ValueError):
        return None
    return max(0.0, when.timestamp() - time.time())
