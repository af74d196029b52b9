"""A request to end ends a run well: Ctrl-C, or the signal of a scheduler that wants the node."""

import signal
from collections.abc import Iterable
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
NOTICES = tuple(getattr(signal, n) for n in ("SIGUSR1", "SIGUSR2") if hasattr(signal, n))
"""What Slurm sends before the end where a job asks for it: Lightning's habit, and submitit's."""


class Interrupt:
    """Within this context, the first signal sets `asked`; a second one does what it always did.

    Notices do nothing after it, since nobody is in a hurry then. For the main thread.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal's number."""

    def __enter__(self) -> "Interrupt":
        both = (*SIGNALS, *NOTICES)
        self._before = {number: signal.signal(number, self._ask) for number in both}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or number
        if number in SIGNALS:
            self._restore(SIGNALS)

    def _restore(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            signal.signal(number, self._before[number])

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore(self._before)
