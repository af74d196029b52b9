"""The view kernel against the device's copy bandwidth, and against the peers' augmentation."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count, product
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import fastload_kernels
from benchmarks import check
from benchmarks.gpu import present
from benchmarks.gpu.bench import MODALITY, Bench, Found, from_tests
from benchmarks.gpu.timing import Work, compete
from benchmarks.results import Comparison, Missing
from fastload import Recipe
from fastload.dtypes import TORCH
from fastload.engines.device.state import DeviceState
from fastload_kernels import Scaling, View, reference
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.view import pack, render
from ssl4eo_train.methods import moco_v2

COPY = "device copy"
SHARPER, BLURRED = 0.8, 0.5
"""Shares of the copy's bandwidth that are aimed at, without and with blur."""
PEERS = {"torchvision": "one by one", "kornia": "a batch at a time", "DALI": "its own operators"}
FASTER = 10
"""How much faster than each peer is aimed at."""


def compulsory(
    params: NDArray[np.void],
    views: Sequence[View],
    shape: tuple[int, int],
    source_bytes: int,
    output_bytes: int,
) -> int:
    """Bytes that no kernel can spare: each crop read once, each view written once.

    Args:
        params: ``[N, V]`` records of `VIEW_PARAMS`.
        views: the V descriptions.
        shape: timestamps T and bands C of the source.
        source_bytes, output_bytes: of a pixel of one band.
    """
    T, C = shape
    total = 0
    for column, view in zip(params.T, views, strict=True):
        frames = np.where(column["timestamp"] < 0, T, 1)
        area = column["height"].astype(np.int64) * column["width"]
        h, w = view.shape
        total += (
            int((area * frames).sum()) * source_bytes + int(frames.sum()) * h * w * output_bytes
        )
    return C * total


def kernel(bench: Bench) -> Found:
    """The MoCo-v2 pair of views of a batch, as a share of the copy's bandwidth."""
    pixels = bench.pixels(bench.options.batch)
    blurred = moco_v2.recipe(bench.options.crop).views
    sharp = tuple(replace(view, blur=0.0) for view in blurred)
    works, comparisons = [copy(bench)], []
    for (views, aim), dtype, last in product(
        ((sharp, SHARPER), (blurred, BLURRED)), ("float32", "bfloat16"), (False, True)
    ):
        work = rendering(bench, pixels, views, dtype, last)
        works.append(work)
        comparisons.append(Comparison(work.name, COPY, aim))
    N, T, C, H, W = pixels.shape
    title = f"view kernel: MoCo-v2 pairs of {bench.options.crop}, {N} x [{T}, {C}, {H}, {W}] int16"
    return compete(bench, title, "GB/s", works, comparisons)


def copy(bench: Bench) -> Work:
    """A plain copy from device memory to device memory."""
    size = bench.options.copy_bytes
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=bench.device)
    target = torch.empty_like(source)

    def right(_: object) -> None:
        assert torch.equal(source, target), "the copy differs from what was copied"

    note = f"{size / 2**20:.0f} MiB, bytes read and written"
    return Work(COPY, lambda: target.copy_(source), 2 * size / 1e9, right, note)


def rendering(
    bench: Bench, pixels: Tensor, views: Sequence[View], dtype: str, channels_last: bool
) -> Work:
    """The launches that make all views of ``pixels [N, T, C, H, W]``; all tables are there."""
    N, T, C, H, W = pixels.shape
    queue, scaling = bench.queue, Scaling.make(0, 1e-4, 0, 1, C)
    params = fastload_kernels.draw(views, 0, 0, np.arange(N), H, W, T)
    layout = plan_views(views, (T, C, H, W), "int16", dtype, channels_last)
    with queue.work():
        outs = [
            queue.empty((N, *v.shape, C) if channels_last else (N, C, *v.shape), TORCH[dtype])
            for v in views
        ]
        packed = pack(layout, outs, addresses(pixels), scaling, params=params)
        data, means = queue.upload(packed.data), queue.empty((layout.mean_bytes(N),), torch.uint8)
        counts = torch.zeros((N, len(views), 3), dtype=torch.int32, device=bench.device)
        for out in outs:
            out.fill_(torch.nan)

    def run() -> None:
        render(queue.runner, layout, packed, data, means=means, counts=counts)

    def right(_: object) -> None:
        close = from_tests("tolerances").assert_close
        source = pixels[0].cpu().numpy()
        for out, view, p in zip(outs, views, params[0], strict=True):
            shown = (out[0].movedim(-1, 0) if channels_last else out[0]).cpu()
            close(
                shown,
                reference.apply(source[p["timestamp"]], p, view, scaling),
                dtype,
            )
            assert not torch.isnan(out).any(), "a pixel was not written"

    size = compulsory(params, views, (T, C), 2, TORCH[dtype].itemsize)
    order = "channels-last" if channels_last else "NCHW"
    name = f"{'with' if views[0].blur else 'without'} blur, {dtype}, {order}"
    note = f"{layout.shared} bytes of shared memory a block"
    return Work(name, run, size / 1e9, right, note)


def addresses(pixels: Tensor) -> NDArray[np.uint64]:
    """Where each timestamp of ``pixels [N, T, ...]`` starts: ``[N, T]``."""
    N, T = pixels.shape[:2]
    step = pixels.element_size() * pixels[0, 0].numel()
    places = pixels.data_ptr() + step * np.arange(N * T)
    return places.astype(np.uint64).reshape(N, T)


def augmentation(bench: Bench) -> Found:
    """One MoCo-v2 view of each sample of a batch, drawn anew in each call, against the peers."""
    o = bench.options
    source = bench.pixels(o.batch)[:, 0].contiguous()
    bench.synchronize()  # It is read on other streams, too.
    B, C, H, W = source.shape

    def right(name: str) -> Callable[[Any], None]:
        shape = (B, C, o.crop, o.crop)
        return lambda found: check.reflectance(name, found, shape, torch.float32)

    works = [Work("fastload", ours(bench, source), B, right("fastload"), "draws and tables too")]
    missing = []
    for name, how in PEERS.items():
        why = present.lacking((name,))
        if why is not None:
            missing.append(Missing(f"augmentation: {name}", "skipped", why))
            continue
        peer = importlib.import_module(f"benchmarks.peers.gpu_{name.lower()}")
        works.append(Work(name, peer.views(source, o.crop), B, right(name), how))
    aims = [Comparison("fastload", name, FASTER) for name in PEERS]
    title = f"augmentation on the device: MoCo-v2 view of {o.crop}, {B} x [{C}, {H}, {W}] int16"
    found = compete(bench, title, "samples/s", works, aims)
    return Found(found.races, missing + found.missing)


def ours(bench: Bench, source: Tensor) -> Callable[[], Tensor]:
    """What the loader does with pixels that are on the device: draw, make tables, render."""
    whole = moco_v2.recipe(bench.options.crop)
    dataset = bench.dataset(Recipe(whole.views[:1], whole.radiometry))
    state, ids = DeviceState(dataset, bench.queue, None), np.arange(len(source))
    planes = np.repeat(addresses(source[:, None]), dataset.timestamps, axis=1)
    epochs = count()

    def made() -> Tensor:
        with bench.queue.work():
            params, keep = state.draw(0, next(epochs), ids)
            outs = state.outputs(MODALITY, len(ids))
            state.render(MODALITY, outs, planes, params, keep[MODALITY])
        return outs[0]

    return made
