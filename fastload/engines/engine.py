"""An engine: a mover and a target, put together for one loader."""

from typing import Any

from fastload.datasets.base import Dataset
from fastload.engines import MOVERS, TARGETS, Mover, Options, Target, imported
from fastload.engines.ring import Iteration
from fastload.plan import Step
from fastload.profile import Profile


class Engine:
    """What a loader keeps between iterations: its mover and its target, with their memory."""

    def __init__(self, mover: Mover, target: Target, profile: Profile) -> None:
        self.mover, self.target, self.profile = mover, target, profile

    @classmethod
    def open(cls, name: str, dataset: Dataset, options: Options) -> "Engine":
        """Put an engine together by its name and the device's type.

        Raises:
            ImportError: says what to install.
            ValueError: where the device cannot take the dataset.
        """
        kind = options.device.type if options.device.type in TARGETS else "cpu"
        target = imported(TARGETS[kind])(dataset, options)
        mover = imported(MOVERS[name])(dataset, options.profile, target.queue, options.largest)
        return cls(mover, target, options.profile)

    def iterate(self, workers: int, depth: int, epoch: int, steps: Step) -> Iteration:
        """The batches of some steps; `depth` of them are made ahead by so many workers."""
        return Iteration(self.mover, self.target, workers, depth, epoch, steps)

    def summary(self) -> dict[str, Any]:
        """What the target has to tell for `DataLoader.stats`."""
        return self.target.summary()

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        """A loader in another process makes its own."""
        return type(None), ()
