"""Engines whose device is the host: the same sources, tables and bookkeeping, with the kernels run
by a C++ compiler and the frames decoded by the public LZ4 and zstd libraries."""

from typing import Any

import torch

from fastload import DataLoader
from fastload.engines import MOVERS, Options, imported
from fastload.engines.device.decode import Decoder
from fastload.engines.device.queue import DeviceQueue
from fastload.engines.device.state import DeviceState
from fastload.engines.device.target import DeviceTarget
from fastload.engines.engine import Engine
from tests.fastload.host_codecs import HostCodecs
from tests.kernels.cuda.host import HostDevice


def twin_queue() -> DeviceQueue:
    """A queue that runs everything at once."""
    return DeviceQueue(torch.device("cpu"), HostDevice())


def twin_engine(mover: str, dataset: Any, options: Options) -> Engine:
    """An engine of a mover and the device's target, on the host."""
    queue = twin_queue()
    decoder = Decoder(queue.runner, HostCodecs(), 0)
    state = DeviceState(dataset, queue, decoder, options.device_cache, options.count_pixels)
    target = DeviceTarget(dataset, options, state)
    moves = imported(MOVERS[mover])(dataset, options.profile, queue, options.largest)
    return Engine(moves, target, options.profile)


class OnHost(DataLoader):
    """A loader whose device is the host."""

    def _make_engine(self, options: Options) -> Engine:
        return twin_engine(self._engine_name, self._data, options)
