"""Threads between two barriers, and blocks, may run in any order: on the host, in each of three.

`test_shuffle.py` does the same for its kernels.
"""

import numpy as np
import pytest
import torch

from tests.kernels.cuda.devices import Place, shim
from tests.kernels.cuda.host import ORDERS
from tests.kernels.cuda.one_view import on_device
from tests.kernels.cuda.test_draw import assert_drawn_alike, test_every_band_drop
from tests.kernels.cuda.test_view import VIEWS, Batch, N, drawn_and_rendered
from tests.kernels.test_draw import ALL
from tests.kernels.test_view import AUGMENTATIONS, BOXES, VIEW, record, scaling_of, source_of


@pytest.fixture(params=ORDERS)
def place(request: pytest.FixtureRequest) -> Place:
    return shim(request.param)


def test_draws(place: Place) -> None:
    assert_drawn_alike(place, [ALL])
    test_every_band_drop(place, 13)


@pytest.mark.parametrize("channels_last", [False, True])
def test_views_means_and_counts(place: Place, channels_last: bool) -> None:
    C, made = 5, []
    for each in (place, shim()):
        batch = Batch(each, C, "int16", "float32", channels_last)
        counts = torch.zeros(N * len(VIEWS) * 3, dtype=torch.int32)
        drawn_and_rendered(batch, C, counts)
        made.append([*(out.view(torch.int32) for out in batch.outs), counts])
    for a, b in zip(*made, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("augmentation", ["none", "all", "all gray"])
def test_counts_of_a_spoilt_view(place: Place, augmentation: str) -> None:
    source = source_of("float32", 3)
    source[np.random.default_rng(0).random(source.shape) < 0.1] = np.nan
    p = record(BOXES["shrink"], **AUGMENTATIONS[augmentation])
    found = []
    for each in (place, shim()):
        counts = torch.zeros(3, dtype=torch.int32)
        out = on_device(each, source, p, VIEW, scaling_of("float32", 3), counts=counts)
        found.append((out, counts))
    (a, a_counts), (b, b_counts) = found
    assert torch.equal(a.view(torch.int32), b.view(torch.int32))
    assert a_counts.tolist() == b_counts.tolist()
    assert a_counts[0] > 0
