"""Ctrl-C asks a run to end well; a second Ctrl-C ends it at once."""

import signal
from types import FrameType, TracebackType


class Interrupt:
    """Within this context, SIGINT sets `asked` instead of raising. For the main thread."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Interrupt":
        self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        signal.signal(signal.SIGINT, self._before)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)
