"""Each peer gives what it says, on made shards (S2L1C) and on real ones (S2L2A)."""

from contextlib import closing
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import check, ours
from benchmarks.data import Shards
from benchmarks.measure import Stream
from fastload import Radiometry, Recipe
from fastload_kernels import Scaling, View

SIZE = 64
BATCH = 2


@pytest.fixture(params=["made", "real"])
def some(request: pytest.FixtureRequest) -> Shards:
    found: Shards = request.getfixturevalue("shards" if request.param == "made" else "real_shards")
    return found


def take(stream: Stream, batches: int) -> list[Any]:
    with closing(stream):
        return list(islice(stream, batches))


def test_shards_know_where_their_chunks_lie(some: Shards) -> None:
    from numcodecs import blosc

    for sample in islice(some.samples.values(), 3):
        whole = some.paths[sample.shard].read_bytes()
        pixels = some.pixels(sample.key)
        for chunk in sample.chunks:
            raw = blosc.decompress(whole[chunk.offset : chunk.offset + chunk.size])
            assert np.array_equal(np.frombuffer(raw, pixels.dtype), pixels[chunk.timestamp].ravel())


@pytest.mark.parametrize("lean", [False, True])
def test_published(some: Shards, lean: bool) -> None:
    pytest.importorskip("webdataset")
    pytest.importorskip("albumentations")
    from benchmarks.peers import published

    T, C, *_ = some.shape
    mean, std = np.full(C, 2000.0), np.full(C, 1000.0)
    for batch in take(published.stream(some, BATCH, 0, SIZE, mean, std, lean), 3):
        dtype = torch.float32 if lean else torch.float64
        check.standardised("published", batch["image"], (BATCH, T, C, SIZE, SIZE), dtype)


def test_both_variants_of_published_standardise_alike(shards: Shards) -> None:
    """Without a crop or a turn, what is left is the standardisation and the order of the axes."""
    pytest.importorskip("albumentations")
    import albumentations

    from benchmarks.peers import published

    pixels = shards.pixels(next(iter(shards.samples)))
    T, C, H, _ = pixels.shape
    mean, std = np.arange(C) + 1500.0, np.arange(C) + 700.0
    expected = (pixels - mean[:, None, None]) / std[:, None, None]
    for make in (published.published_transform, published.lean_transform):
        transform = make(H, T, mean, std)
        kept = [t for t in transform.transforms if not isinstance(t, albumentations.D4)]
        found = albumentations.Compose(kept, is_check_shapes=False)(image=pixels)["image"]
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lean", [False, True])
def test_moco_stack(some: Shards, lean: bool) -> None:
    pytest.importorskip("webdataset")
    pytest.importorskip("cv2")
    from benchmarks.peers import moco_stack

    C = some.shape[1]
    for views in take(moco_stack.stream(some, BATCH, 0, SIZE, lean), 3):
        assert len(views) == 2
        for view in views:
            check.reflectance("moco", view, (BATCH, C, SIZE, SIZE), torch.float32)


def test_bare_loop_gives_the_bytes_that_zarr_gives(some: Shards) -> None:
    from benchmarks.peers import bare_blosc

    dtype = some.pixels(next(iter(some.samples))).dtype
    stream = bare_blosc.stream(some, BATCH, 2, dtype)
    seen = set()
    with closing(stream):
        for keys, batch in islice(stream, len(some.samples)):
            seen.update(keys)
            for key, pixels in zip(keys, batch, strict=True):
                assert np.array_equal(pixels, some.pixels(key))
    assert seen == set(some.samples)


@pytest.mark.parametrize("name", ["torchvision", "kornia", "dali"])
def test_augmentation(some: Shards, name: str) -> None:
    pytest.importorskip({"dali": "nvidia.dali"}.get(name, name))
    peer = pytest.importorskip(f"benchmarks.peers.augment_{name}")
    from benchmarks.peers import source

    pixels, C = source.pixels(some, 4), some.shape[1]
    views = torch.cat(take(peer.stream(pixels, 8, 0 if name != "dali" else 1, SIZE), 8))
    check.reflectance(name, views, (64, C, SIZE, SIZE), torch.float32)
    gray = (views - views[:, :1]).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0 < gray.sum() < 32, "expected about a fifth of the views to be gray"
    mean = pixels.float().mul(1e-4).clamp(0, 1).mean()
    assert 0.7 * mean < views.mean() < 1.3 * mean, "brightness is 1 on average"


def test_our_own_streams(shards: Shards, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FASTLOAD_CACHE", str(tmp_path))
    T, C, *_ = shards.shape
    series = Recipe((View(size=SIZE, timestamp="all"),), Radiometry.standardise())
    for batch in take(ours.stream(shards, series, BATCH, 2), 4):
        check.standardised("fastload", batch["S2L1C"][0], (BATCH, T, C, SIZE, SIZE), torch.float32)
    view = View(size=SIZE, scale=(0.2, 1.0), jitter=0.8, brightness=0.4, contrast=0.4)
    from benchmarks.peers import source

    pixels, scaling = source.pixels(shards, 4), Scaling.make(0, 1e-4, 0, 1, C)
    for views in take(ours.views(pixels, view, scaling, BATCH, 2), 4):
        check.reflectance("kernel", views, (BATCH, C, SIZE, SIZE), torch.float32)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((2, 3)), "expected a tensor"),
        (torch.ones(2, 4), "expected shape"),
        (torch.ones(2, 3, dtype=torch.float64), "expected torch.float32"),
        (torch.full((2, 3), 0.5), "expected pixels that vary"),
        (torch.tensor([[0.1, 0.2, torch.nan], [0.3, 0.1, 0.2]]), "expected -0.6"),
        (torch.tensor([[0.1, 0.2, 9.0], [0.3, 0.1, 0.2]]), "expected -0.6"),
    ],
)
def test_checks_refuse_what_is_wrong(x: Any, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check.reflectance("x", x, (2, 3), torch.float32)
