import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from fastload import DataLoader
from fastload.engines.memory import Pool, aligned
from tests.fastload.made import ENGINES, assert_same, dataset, moco

pytestmark = pytest.mark.timeout(60)

SHAPE, DTYPE = (5, 7), np.dtype(np.float32)


def take(pool: Pool) -> torch.Tensor:
    return pool.take(SHAPE, DTYPE).tensor()


def test_memory_comes_back_with_the_last_tensor() -> None:
    pool = Pool()
    first = take(pool)
    address = first.data_ptr()
    view = first[2:, 3]
    del first
    second = take(pool)
    assert second.data_ptr() != address
    del view
    assert take(pool).data_ptr() == address


KEEP = {
    "view": lambda t: t.view(-1)[3:],
    "numpy": lambda t: t.numpy(),
    "numpy slice": lambda t: t.numpy()[1:, ::2],
    "memoryview": lambda t: memoryview(t.numpy()),
    "dlpack": lambda t: np.from_dlpack(t),
    "detached": lambda t: t.detach().T,
    "dtype": lambda t: t.view(torch.int32),
    "storage": lambda t: t.untyped_storage(),
    "graph": lambda t: (t * torch.ones(7, requires_grad=True)).sum(),
    "parameter": lambda t: torch.nn.Parameter(t),
    "closure": lambda t: lambda: t,
}


@pytest.mark.parametrize("way", KEEP)
def test_nothing_that_holds_a_tensor_lets_its_memory_go(way: str) -> None:
    pool = Pool()
    tensor = take(pool)
    address = tensor.data_ptr()
    kept = KEEP[way](tensor)
    del tensor
    others = [take(pool) for _ in range(3)]
    assert address not in {t.data_ptr() for t in others}
    del others
    assert address not in {t.data_ptr() for t in [take(pool) for _ in range(5)]}
    del kept
    assert address in {t.data_ptr() for t in [take(pool) for _ in range(9)]}


def test_a_graph_still_has_its_numbers() -> None:
    pool = Pool()
    weight = torch.ones(7, requires_grad=True)
    tensor = take(pool)
    tensor.copy_(torch.arange(35.0).view(5, 7))
    expected = tensor.sum(0).clone()
    loss = (tensor * weight).sum()
    del tensor
    for _ in range(5):
        take(pool).fill_(-1)
    loss.backward()
    assert torch.equal(weight.grad, expected)


def test_sizes_do_not_mix() -> None:
    pool = Pool()
    small, large = pool.take((3,), np.dtype(np.int16)), pool.take((4,), np.dtype(np.int16))
    addresses = [small.tensor().data_ptr(), large.tensor().data_ptr()]
    again = pool.take((2, 2), np.dtype(np.uint16))
    assert again.array.ctypes.data == addresses[1]
    assert again.tensor().shape == (2, 2)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000])
def test_aligned(size: int) -> None:
    for _ in range(10):
        memory = aligned(size)
        assert memory.nbytes == size
        assert size == 0 or memory.ctypes.data % 64 == 0


def test_threads_may_share_a_pool() -> None:
    pool = Pool()
    addresses: set[int] = set()
    start = threading.Barrier(8)

    def work(number: int) -> None:
        start.wait()
        held: list[torch.Tensor] = []
        for turn in range(300):
            tensor = take(pool)
            addresses.add(tensor.data_ptr())
            tensor.fill_(number * 1000 + turn)
            held.append(tensor)
            if len(held) > turn % 4:
                mine = held.pop(0)
                assert mine.unique().numel() == 1
                assert mine[0, 0] // 1000 == number
                del mine

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(8)))
    assert len(addresses) <= 8 * 6


# --- in the loader ---


def addresses(batch: dict[str, Any]) -> list[int]:
    return [view.data_ptr() for view in batch["S2L1C"]]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("workers", "depth"), [(0, 2), (2, 1), (2, 3)])
def test_a_loader_uses_its_memory_again(engine: Any, workers: int, depth: int) -> None:
    loader = DataLoader(
        dataset(moco()), 1, num_workers=workers, prefetch_factor=depth, engine=engine
    )
    seen = set()
    for batch in loader:
        seen.update(addresses(batch))
    # Two views, in the ring, one in the making and one with the consumer.
    assert len(seen) <= 2 * (depth + 2)
    assert len(loader) > depth + 4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_held_batches_never_change(engine: Any, workers: int) -> None:
    loader = DataLoader(dataset(moco()), 1, num_workers=workers, engine=engine)
    copies, held = [], []
    for step, batch in enumerate(loader):
        copies.append([view.clone() for view in batch["S2L1C"]])
        # Each is held in another way: as it is, as a slice, as an array.
        ways = (lambda t: t, lambda t: t[:, 2:, ::3], lambda t: torch.from_numpy(t.numpy()[:, 1]))
        held.append([ways[step % 3](view) for view in batch["S2L1C"]])
        copies[-1] = [ways[step % 3](view) for view in copies[-1]]
    pointers = [view.data_ptr() for views in held for view in views]
    assert len(set(pointers)) == len(pointers)
    assert_same([[v.contiguous() for v in views] for views in held],
                [[v.contiguous() for v in views] for views in copies])  # fmt: skip


def test_batches_outlive_their_loader() -> None:
    loader = DataLoader(dataset(moco()), 2, num_workers=2)
    kept = list(loader)
    copies = [[view.clone() for view in batch["S2L1C"]] for batch in kept]
    del loader
    gc.collect()
    list(DataLoader(dataset(moco()), 2, num_workers=2))
    assert_same([batch["S2L1C"] for batch in kept], copies)


def test_c10_a_pool_of_many_sizes_stays_small() -> None:
    """Batches that vary in size do not each leave their memory behind."""
    pool = Pool()
    for rows in [*range(64, 0, -1), *range(1, 65)] * 3:
        buffer = pool.take((rows, 1000), np.dtype(np.uint8))
        tensor = buffer.tensor()
        del buffer, tensor
        assert pool.kept <= 5 * 64_000
