import time
from collections.abc import Iterator

import pytest
import torch

from ssl4eo_train.clock import Clock

pytestmark = pytest.mark.timeout(20)


def batches(first: float, later: float) -> Iterator[int]:
    time.sleep(first)
    yield 0
    while True:
        time.sleep(later)
        yield 0


def test_the_wait_for_the_first_batch_is_apart() -> None:
    clock, source = Clock(torch.device("cpu")), batches(0.5, 0.02)
    assert clock.first is None
    assert clock.overall() == (0.0, 0.0)
    for _ in range(3):
        clock.next(source)
        time.sleep(0.02)
    (first, waited), *later = clock.window()
    assert clock.first is not None
    assert clock.first >= 0.5
    assert waited == 0
    assert first < 0.5
    assert all(0 < share < 1 and seconds >= 0.04 for seconds, share in later)
    assert clock.overall()[0] > 3 / 0.5


def test_a_batch_that_was_not_trained_on_is_forgotten() -> None:
    clock, source = Clock(torch.device("cpu")), batches(0.0, 0.0)
    for _ in range(3):
        clock.next(source)
    clock.forget(2)
    assert len(clock.window()) == 2
