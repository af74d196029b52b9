"""What executes a plan. Engines differ in speed, never in result."""

from collections.abc import Generator
from typing import Any, Protocol

from fastload.engines.batch import Assembler
from fastload.plan import Step

Batches = Generator[dict[str, Any], None, None]


class Engine(Protocol):
    """Turns the sample ids of each step into finished batches, in order."""

    def run(self, assembler: Assembler, epoch: int, steps: Step) -> Batches:
        """Yield one dict per step. Closing the generator stops all work and ends all threads.

        `steps` is asked as far ahead as batches are made, in the thread that iterates.
        """
        ...


__all__ = ["Assembler", "Batches", "Engine"]
