"""Runs parts in child processes, so that one that crashes or hangs costs only itself."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from time import monotonic, sleep

from benchmarks.gpu.child import BROKEN
from benchmarks.gpu.parts import Result, kind_of

POLL = 0.1  # seconds
Command = Callable[[Sequence[str]], list[str]]
"""From the names of parts to the command line of a child that runs them."""


class Supervisor:
    """Starts children one after the other until every part has a result.

    Args:
        command: makes a child's command line.
        results: file that children append a line of JSON to for each part.
        patience: seconds that a part may take.
        deadline: when to end, by `time.monotonic`.
        tell: is told of each result, in order.
    """

    def __init__(
        self,
        command: Command,
        results: Path,
        patience: float,
        deadline: float,
        tell: Callable[[Result], None],
    ) -> None:
        self.command, self.results, self.patience = command, results, patience
        self.deadline, self.tell = deadline, tell
        self._read = 0

    def run(self, names: Sequence[str]) -> None:
        """Run all; each gets a result, if only that there was no time."""
        left = list(names)
        self.results.touch()
        while left and monotonic() < self.deadline:
            reason = self._child(left)
            if left and reason is not None:
                name = left.pop(0)
                self.tell(Result(name, kind_of(name), "failed", 0.0, reason))
        for name in left:
            why = "no time was left for it, see --minutes"
            self.tell(Result(name, kind_of(name), "skipped", 0.0, why))

    def _child(self, left: list[str]) -> str | None:
        """Run one child, and take what it finishes from `left`.

        Returns:
            What is wrong with the first part of those left; None where nothing is.
        """
        child = subprocess.Popen(self.command(left), start_new_session=True)
        try:
            return self._watched(child, left)
        finally:
            if child.poll() is None:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()

    def _watched(self, child: "subprocess.Popen[bytes]", left: list[str]) -> str | None:
        since = monotonic()
        while True:
            code = child.poll()
            if self._take(left):
                since = monotonic()
            if code is not None:
                return None if code == BROKEN or not left else _ended(code)
            if monotonic() >= self.deadline:
                return None
            if monotonic() - since > self.patience:
                return f"it gave no result within {self.patience:g} s and was ended"
            sleep(POLL)

    def _take(self, left: list[str]) -> bool:
        """Read new lines; whether there were any."""
        with self.results.open(encoding="utf-8") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind("\n") + 1]
        self._read += len(whole.encode())
        for line in whole.splitlines():
            result = Result(**json.loads(line))
            left.remove(result.name)
            self.tell(result)
        return bool(whole)


def _ended(code: int) -> str:
    if code < 0:
        return f"its process was ended by {signal.Signals(-code).name}"
    return f"its process ended with exit code {code}"
