"""The movers of the package, for the host and for a device."""

from typing import Any

import pytest

from fastload.datasets.base import Dataset
from fastload.engines import MOVERS, Mover, imported
from fastload.engines.dali import has_dali
from fastload.engines.workers import Workers
from fastload.profile import Profile
from fastload.storage.native import bytes_at
from tests.conformance.mover import B, MoverTests, batch
from tests.fastload.made import dataset, moco
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


class Late:
    """An event that the device reaches when the test says so."""

    reached = False

    def query(self) -> bool:
        return self.reached

    def synchronize(self) -> None:
        self.reached = True


@pytest.mark.skipif(not has_dali(), reason="needs nvidia-dali")
class TestDaliForDevice(OnTwin):
    name = "dali"

    def test_what_the_device_has_not_passed_is_not_overwritten(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """DALI hands memory that is let go of to its next run, whatever the queue still does."""
        data, queue, marks = dataset(moco()), self.queue(), list[Late]()

        def mark() -> Late:
            marks.append(Late())
            return marks[-1]

        monkeypatch.setattr(queue, "mark", mark)
        mover: Any = self.make(data, Profile(), queue, B)
        arrived = list[tuple[int, int, bytes]]()
        for seed in range(3):  # one more would wait for a staging buffer
            request = batch(data, seed)
            load = mover.begin(request, Workers(0))
            load.arrive()
            content = bytes_at(load.address, request.nbytes).tobytes()
            arrived.append((load.address, request.nbytes, content))
            load.release()
        assert len({address for address, _, _ in arrived}) == 3
        for address, size, content in arrived:
            assert bytes_at(address, size).tobytes() == content
        for each in marks:
            each.reached = True
        load = mover.begin(batch(data, 3), Workers(0))
        load.arrive()
        load.release()
        assert len(mover._held) == 1, "what was passed is let go of"
        mover.close()
        assert marks[-1].reached


def test_every_mover_is_covered() -> None:
    """A new line in the table needs the suite, for the host and for a device."""
    assert {suite.name for suite in Listed.__subclasses__() if suite is not OnTwin} == set(MOVERS)
    assert {suite.name for suite in OnTwin.__subclasses__()} == set(MOVERS)
