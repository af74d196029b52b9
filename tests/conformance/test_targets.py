"""The targets of the package; the device's with the host in the device's place."""

import warnings
from collections.abc import Iterator

import pytest

from fastload.datasets.base import Dataset
from fastload.engines import TARGETS, Options, Target, imported
from fastload.engines.device.decode import Decoder
from fastload.engines.device.state import DeviceState
from tests.conformance.target import SAMPLES, SEED, Made, TargetTests, alike
from tests.fastload.host_codecs import HostCodecs
from tests.fastload.made import dataset
from tests.fastload.test_loader_engines import CASES
from tests.fastload.twin import twin_queue

pytestmark = pytest.mark.timeout(120)


class TestHost(TargetTests):
    name = "cpu"

    def make(self, data: Dataset, options: Options) -> Target:
        target: Target = imported(TARGETS[self.name])(data, options)
        return target


class TestDevice(TargetTests):
    name = "cuda"
    decodes = True

    @pytest.fixture(autouse=True)
    def quiet(self) -> Iterator[None]:
        """What the device leaves to the host it says."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*decoded on the CPU")
            yield

    def make(self, data: Dataset, options: Options) -> Target:
        queue = twin_queue()
        decoder = Decoder(queue.runner, HostCodecs(), 0) if self.decodes else None
        state = DeviceState(data, queue, decoder, options.device_cache, options.count_pixels)
        target: Target = imported(TARGETS[self.name])(data, options, state)
        return target


class WithoutDecoder(TestDevice):
    """All is decoded on the host, and rendered on the device."""

    decodes = False


@pytest.mark.parametrize("case", ["raw", "moco, both", "policies"])
def test_a_device_without_a_decoder_gives_the_same_batches(case: str) -> None:
    """`DeviceState` without one; the suite as a whole is for the device with it."""
    modalities, recipe = CASES[case]
    data = dataset(recipe, modalities, seed=SEED)
    made = Made(WithoutDecoder(), data)
    for epoch in range(2):
        alike(data, made.batch(epoch=epoch), SAMPLES, epoch)
    made.close()


def test_every_target_is_covered() -> None:
    """A new line in the table needs the suite."""
    assert {suite.name for suite in (TestHost, TestDevice)} == set(TARGETS)
