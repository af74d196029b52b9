"""Tiles for the shared memory of each kind of device."""

import itertools

import numpy as np
import pytest
import torch

from fastload_kernels import View
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.shared_memory import SMALLEST, STATIC, SharedMemory
from ssl4eo_train.methods import METHODS
from tests.kernels.cuda.devices import Place
from tests.kernels.cuda.test_view import COLOURS, Batch, drawn_and_rendered
from tests.tolerances import assert_close

MEMORIES = {
    "99 KiB": SMALLEST,
    "163 KiB": SharedMemory(163 << 10, 164 << 10),
    "227 KiB": SharedMemory(227 << 10, 228 << 10),
}
SHAPE = (4, 13, 264, 264)
KINDS = tuple(itertools.product(("float32", "float16", "bfloat16"), (False, True)))


@pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
@pytest.mark.parametrize("name", METHODS)
def test_published_recipes_fit(name: str, memory: SharedMemory) -> None:
    method = METHODS[name]
    p = method.PUBLISHED
    views = method.recipe(p.image_size, p.arch, method.Options()).views
    for output, last in KINDS:
        shared = plan_views(views, SHAPE, "int16", output, last, memory).shared
        assert 0 < shared + STATIC <= memory.per_block, (output, last)


def test_blocks_share_a_multiprocessor() -> None:
    memory = MEMORIES["227 KiB"]
    # Each takes what it asks for, in multiples of 128 bytes, and 1 KiB that CUDA keeps.
    assert memory.blocks(0) == 228 * 1024 // (128 + 1024)
    assert memory.blocks(56 * 1024 - STATIC) == 4
    assert memory.blocks(56 * 1024 - STATIC + 1) == 3
    assert memory.blocks(memory.dynamic) == 1
    assert memory.blocks(memory.dynamic + 1) == 0
    for known in MEMORIES.values():
        assert known.blocks(known.dynamic) == 1


def test_what_fits_nowhere_names_the_view_and_the_limit() -> None:
    view = View(size=96, scale=(0.1, 1))
    for memory, limit in zip(MEMORIES.values(), (101376, 166912, 232448), strict=True):
        with pytest.raises(ValueError, match=f"View.size 96: .* into the {limit} bytes .* takes "):
            plan_views([view], (1, 10_000, 264, 264), "int16", "float32", True, memory)


LARGER = (
    View(size=96, scale=(0.2, 1), blur=0.6, d4=1.0, drop=0.6, **COLOURS),
    View(size=(60, 100), scale=(0.3, 1), interpolation="bicubic", jitter=1.0, contrast=0.5),
)


@pytest.mark.parametrize(
    ("source", "output", "channels_last"),
    [("int16", "float32", False), ("int16", "bfloat16", True), ("float32", "float32", True)],
)
def test_tiles_do_not_change_a_bit(
    place: Place, source: str, output: str, channels_last: bool
) -> None:
    C, tiny = 13, SharedMemory(24 << 10, 26 << 10)
    made, tilings = [], set()
    for memory in (tiny, *MEMORIES.values()):
        batch = Batch(place, C, source, output, channels_last, LARGER, memory)
        params, keep = drawn_and_rendered(batch, C)
        made.append([out.cpu().view(torch.uint8) for out in batch.outs])
        tilings.add(batch.plan.jobs[["rows", "columns"]].tobytes())
    assert len(tilings) >= 2
    for each in made[1:]:
        for a, b in zip(made[0], each, strict=True):
            np.testing.assert_array_equal(a, b)
    for got, expected in batch.expected(params, keep):
        assert_close(got, expected, output)


def test_the_device_is_asked_for_both_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = pytest.importorskip("cupy.cuda").runtime
    sizes = {
        runtime.cudaDevAttrMaxSharedMemoryPerBlockOptin: 166912,
        runtime.cudaDevAttrMaxSharedMemoryPerMultiprocessor: 167936,
    }
    asked = []

    def attribute(number: int, device: int) -> int:
        asked.append(device)
        return sizes[number]

    monkeypatch.setattr(runtime, "deviceGetAttribute", attribute)
    assert SharedMemory.of(3) == MEMORIES["163 KiB"]
    assert asked == [3, 3]
