"""`DataLoader(transform=)`: the last thing that happens to a batch."""

import threading
from typing import Any

import pytest
import torch

from fastload import DataLoader
from tests.fastload.made import ENGINES, assert_same, dataset, moco

pytestmark = pytest.mark.timeout(60)


class Twice(torch.nn.Module):
    """A module on the views of a batch."""

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        assert threading.current_thread() is threading.main_thread()
        return batch | {"S2L1C": [2 * view for view in batch["S2L1C"]]}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_a_module_gets_each_finished_batch(engine: Any, workers: int) -> None:
    plain = DataLoader(dataset(moco()), 4, True, seed=1)
    loader = DataLoader(
        dataset(moco()), 4, True, seed=1, num_workers=workers, engine=engine, transform=Twice()
    )
    for mine, expected in zip(loader, plain, strict=True):
        assert_same(mine, expected | {"S2L1C": [2 * view for view in expected["S2L1C"]]})


def test_it_comes_after_the_collate_function_and_may_return_anything() -> None:
    loader = DataLoader(dataset(), 4, collate_fn=len, transform=lambda count: ("batch of", count))
    assert list(loader) == [("batch of", 4)] * 5 + [("batch of", 1)]


def test_it_is_where_the_batch_is() -> None:
    seen = []
    list(DataLoader(dataset(), 21, device="meta", transform=lambda b: seen.append(b["S2L1C"])))
    assert seen[0].device.type == "meta"


def test_its_error_is_the_users() -> None:
    def fails(batch: Any) -> None:
        raise KeyError("mine")

    loader = DataLoader(dataset(), 4, num_workers=1, transform=fails)
    with pytest.raises(KeyError, match="mine"):
        next(iter(loader))


def test_it_is_refused_for_what_torch_loads() -> None:
    with pytest.raises(ValueError, match="transform: for fastload datasets only"):
        DataLoader(torch.utils.data.TensorDataset(torch.zeros(3)), transform=print)
