"""What ends a run early although nobody asked: bad data, a machine or disk that has no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastload import DataError
from fastload.storage.errors import MachineError
from ssl4eo_train import distributed
from ssl4eo_train.errors import PeerError

NONE, LOADING, WRITING = 0, 1, 2


class Trouble:
    """Keeps the first error of this process until all of them have agreed to end.

    Args:
        out: the run's folder.

    Attributes:
        error: that was met here, if any.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._kind = NONE
        self.error: Exception | None = None

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Within this context such an error is kept; what cannot be written becomes a sentence."""
        try:
            yield
        except (DataError, MachineError) as error:
            self._keep(error, LOADING)
        except OSError as error:
            why = error.strerror or str(error)
            told = f"--out: cannot write to {error.filename or self._out}: {why}"
            self._keep(OSError(told), WRITING)

    def _keep(self, error: Exception, kind: int) -> None:
        self._kind = max(self._kind, kind)
        self.error = self.error or error

    def anywhere(self) -> int:
        """The worst kind of trouble that any process has, 0 for none. Collective."""
        return distributed.largest(self._kind)

    def end(self) -> None:
        """End this process, after trouble anywhere.

        Raises:
            Exception: the error that was met here, or else a `PeerError`.
        """
        raise self.error or PeerError("another process of this run met an error, and names it")
