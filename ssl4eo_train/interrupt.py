"""A request to end ends a run well: Ctrl-C, or the SIGTERM of a scheduler that wants the node."""

import signal
from types import FrameType, TracebackType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupt:
    """Within this context, the first signal sets `asked`; a second one does what it always did.

    For the main thread.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        """The signal's number."""

    def __enter__(self) -> "Interrupt":
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()
