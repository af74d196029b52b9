"""What executes a plan. Engines differ in speed, never in result."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from fastload.engines.batch import Assembler


class Engine(Protocol):
    """Turns the sample ids of the steps from `start` on into finished batches, in order."""

    def run(
        self, assembler: Assembler, epoch: int, steps: Sequence[NDArray[Any]], start: int
    ) -> Iterator[dict[str, Any]]:
        """Yield one dict per step. Closing the iterator stops all work."""
        ...


__all__ = ["Assembler", "Engine"]
