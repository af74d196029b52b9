import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssl4eo_train.clock import Clock
from ssl4eo_train.tracking import NAME, Tracker, cut, read

pytestmark = pytest.mark.timeout(60)


def run(folder: Path | None, first: int, last: int, losses: dict[int, float]) -> None:
    tracker, clock = Tracker(folder, first, last), Clock(torch.device("cpu"))
    for step in range(first + 1, last + 1):
        clock.next(iter([0]))
        tracker.add({"loss": torch.tensor(losses[step])})
        tracker.record({"step": step, "lr": 0.5})
    tracker.flush(clock, 8)
    tracker.close()


def test_rows_and_events(tmp_path: Path) -> None:
    losses = {step: 1 / step for step in range(1, 6)}
    run(tmp_path, 0, 5, losses)
    rows = list(read(tmp_path / NAME))
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["loss"] for row in rows] == [torch.tensor(x).item() for x in losses.values()]
    assert all(row["lr"] == 0.5 and 0 <= row["waiting"] <= 1 for row in rows)
    assert all(row["samples_per_s"] > 0 for row in rows)
    events = EventAccumulator(str(tmp_path)).Reload()
    seen = {e.step: e.value for e in events.Scalars("loss")}
    assert seen == pytest.approx(losses)


def test_a_step_of_several_passes_shows_their_mean(tmp_path: Path) -> None:
    tracker, clock = Tracker(tmp_path, 0, 1), Clock(torch.device("cpu"))
    clock.next(iter([0]))
    for loss in (1.0, 4.0, 1.0):
        tracker.add({"loss": torch.tensor(loss)})
    tracker.record({"step": 1})
    tracker.flush(clock, 8)
    tracker.close()
    assert [row["loss"] for row in read(tmp_path / NAME)] == [2.0]


def test_resumed_rows_replace_what_lay_past_the_step(tmp_path: Path) -> None:
    run(tmp_path, 0, 5, dict.fromkeys(range(1, 6), 1.0))
    with (tmp_path / NAME).open("a") as file:
        file.write('{"step": 6, "lo')  # What a crash leaves.
    run(tmp_path, 3, 6, dict.fromkeys(range(4, 7), 2.0))
    rows = [(row["step"], row["loss"]) for row in read(tmp_path / NAME)]
    assert rows == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2)]


def test_cut_keeps_rows_before_a_tear(tmp_path: Path) -> None:
    path = tmp_path / NAME
    cut(path, 3)  # Nothing there: nothing to do.
    path.write_text('{"step": 1}\n{"step": 2}\n{"st')
    cut(path, 9)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the loss of step 2 is nan"):
        run(tmp_path, 0, 2, {1: 1.0, 2: math.nan})


def test_other_processes_write_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(None, 0, 2, {1: 1.0, 2: 1.0})
    assert list(tmp_path.iterdir()) == []
