"""The movers of the package, for the host and for a device."""

from typing import Any

import pytest

from fastload.datasets.base import Dataset
from fastload.engines import MOVERS, Mover, imported
from fastload.engines.dali import has_dali
from fastload.profile import Profile
from tests.conformance.mover import MoverTests
from tests.fastload.twin import twin_queue

pytestmark = pytest.mark.timeout(60)


class Listed(MoverTests):
    """A mover of the table."""

    name = ""

    def make(self, data: Dataset, profile: Profile, queue: Any, largest: int | None) -> Mover:
        mover: Mover = imported(MOVERS[self.name])(data, profile, queue, largest)
        return mover


class OnTwin(Listed):
    """The same for a device, in whose place the host is."""

    def queue(self) -> Any:
        return twin_queue()


class TestThreads(Listed):
    name = "threads"


class TestThreadsForDevice(OnTwin):
    name = "threads"


@pytest.mark.skipif(not has_dali(), reason="needs nvidia-dali")
class TestDali(Listed):
    name = "dali"


@pytest.mark.skipif(not has_dali(), reason="needs nvidia-dali")
class TestDaliForDevice(OnTwin):
    name = "dali"


def test_every_mover_is_covered() -> None:
    """A new line in the table needs the suite, for the host and for a device."""
    assert {suite.name for suite in Listed.__subclasses__() if suite is not OnTwin} == set(MOVERS)
    assert {suite.name for suite in OnTwin.__subclasses__()} == set(MOVERS)
