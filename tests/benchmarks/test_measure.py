from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from benchmarks import measure
from benchmarks.measure import Contestant, Running, Stream
from benchmarks.results import Comparison

Log = list[tuple[str, Any]]


def pedantic(
    target: Callable[..., Any],
    setup: Callable[[], Any],
    teardown: Callable[..., Any],
    rounds: int,
    iterations: int,
) -> None:
    """What pytest-benchmark does, in its order."""
    assert iterations == 1
    for _ in range(rounds):
        args, kwargs = setup()
        target(*args, **kwargs)
        teardown(*args, **kwargs)


def contestant(name: str, log: Log, **options: Any) -> Contestant:
    def stream() -> Stream:
        log.append((name, "open"))
        try:
            for i in count():
                log.append((name, i))
                yield i
        finally:
            log.append((name, "close"))

    return Contestant(name, stream, lambda b: log.append((name, f"check {b}")), 8, **options)


def test_a_round_discards_what_was_fetched_ahead_and_checks_both_ends() -> None:
    log: Log = []
    rate = measure.once(contestant("a", log, burst=2, ahead=3), batches=4)
    assert rate > 0
    given = [what for _, what in log]
    # One to look at, then whole bursts that cover what is ahead, then the timed four.
    assert given == ["open", 0, "check 0", 1, 2, 3, 4, 5, 6, 7, 8, "check 8", "close"]


def test_calibration_gives_whole_bursts() -> None:
    batches = measure.calibrate(contestant("a", [], burst=3), seconds=0.01)
    assert batches > 0
    assert batches % 3 == 0


def test_rounds_are_interleaved_and_one_stream_is_open_at_a_time() -> None:
    log: Log = []
    a, b = contestant("ours", log), contestant("peer", log)
    found = measure.race(
        "r", [a, b], [Comparison("ours", "peer")], rounds=3, seconds=1e-4, pedantic=pedantic
    )
    assert [len(f.rounds) for f in found.figures] == [3, 3]
    turns = [(name, what) for name, what in log if what in ("open", "close")]
    one = [("peer", "open"), ("peer", "close"), ("ours", "open"), ("ours", "close")]
    calibration = [("ours", "open"), ("ours", "close"), ("peer", "open"), ("peer", "close")]
    assert turns == calibration + 3 * one


@pytest.mark.parametrize("wrong", [0, 9])
def test_a_wrong_batch_stops_the_race_and_closes_the_stream(wrong: int) -> None:
    log: Log = []

    def check(batch: int) -> None:
        assert batch != wrong, "not what was asked for"

    good = contestant("a", log, ahead=1)
    bad = Contestant("a", good.stream, check, 8, ahead=1)
    with pytest.raises(AssertionError, match="not what was asked for"):
        measure.once(bad, batches=8)
    assert log[-1] == ("a", "close")


def test_an_ended_stream_is_an_error_and_not_a_figure() -> None:
    def short() -> Stream:
        yield from range(5)

    ending = Contestant("short", short, lambda _: None, 1, ahead=1)
    running = Running.start(ending)
    with pytest.raises((RuntimeError, StopIteration)):
        measure.rate(running, 10)
    running.stop()
