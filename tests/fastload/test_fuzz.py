"""Random damage of codecs, zip64 and zarr files of many samples; see `fuzz`."""

import resource
import time
from pathlib import Path

import pytest

from tests.fastload import fuzz
from tests.fastload.faulty import child, tell

COUNTS = {"codecs": 1500, "directories": 1500, "many": 120}
LONG = {"codecs": 120_000, "directories": 120_000, "many": 10_000}
SPARE = 2**30
"""Bytes of address space that a child may take on."""


def test_what_is_mutated_is_sound() -> None:
    assert fuzz.sound()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("target", COUNTS)
def test_random_damage_is_refused(target: str) -> None:
    count = COUNTS[target]
    assert count // 4 < fuzz.TARGETS[target](count, 1) < 2 * count


def bounded(target: str, count: int, seed: int) -> None:
    """Run in a child that may take on `SPARE` bytes of address space, no more."""
    fuzz.TARGETS[target](20, seed)  # what is compiled or imported takes some, too
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE, used + SPARE))
    start = time.monotonic()
    refused = fuzz.TARGETS[target](count, seed)
    tell([refused, time.monotonic() - start])


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("target", LONG)
def test_much_random_damage_is_refused(target: str) -> None:
    """None crashes, hangs or takes more memory than may be."""
    refused, _ = child(bounded, target, LONG[target], 7, limit=2800).result()
    assert refused > LONG[target] // 4
