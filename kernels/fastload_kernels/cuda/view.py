"""The view operation on the device: all views of a whole batch of one modality in one launch.

`plan_views` once for a recipe and a source, then for each batch `pack`, one upload, and `render`.
Drawn parameters may lie on the device and are never looked at here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda import steps
from fastload_kernels.cuda.launch import Device, HasPointer, pointer
from fastload_kernels.cuda.planning import OUTPUTS, SOURCES, LaunchPlan
from fastload_kernels.cuda.tiles import BLOCK, Bounds
from fastload_kernels.resample import blur_radius
from fastload_kernels.view import VIEW_PARAMS, Scaling, without_colours

_BAND = ("offset", "scale", "low", "high", "nodata", "nan", "plus", "minus")
BAND = np.dtype([(name, "<f4") for name in _BAND])
"""Radiometry of one band; the struct `Band` in job.cuh."""
_PARTS = 4  # blocks that share the band means of a view


@dataclass(frozen=True)
class Packed:
    """What `render` reads, as one run of bytes: to be uploaded with one copy, to an address that
    is a multiple of 16. `at` says where in it each table starts."""

    data: NDArray[np.uint8]
    samples: int
    at: dict[str, int]
    lines: int = 0
    """Address in `work`, see there."""


def pack(
    plan: LaunchPlan,
    outs: Sequence[int | HasPointer],
    planes: NDArray[np.uint64],
    scaling: Scaling,
    *,
    nodata: float | None = None,
    params: NDArray[np.void] | None = None,
    keep: NDArray[np.uint8] | None = None,
    masks: Sequence[int | HasPointer] = (),
    work: int | HasPointer = 0,
) -> Packed:
    """Put the tables of one launch into one array.

    Args:
        plan: of the views.
        outs: for each view where its pixels go on the device: C-contiguous ``[N, C, h, w]``, or
            ``[N, h, w, C]`` for bands last; ``[N, T, ...]`` for a view of all timestamps.
        planes: ``[N, T]`` device addresses of the decoded ``[C, H, W]``, C-contiguous; 0 where no
            view asks for that timestamp; see `render` for those that a sample does not have.
        scaling: radiometry of the C bands; of labels if the plan is for them.
        nodata: pixel value that means nothing was seen, for the counts and masks.
        params: ``[N, V]`` records of `VIEW_PARAMS`, where they were drawn on the host; of the image
            that they were drawn on, see `plan_views`.
        keep: uint8 ``[N, V, C]``, 0 for a dropped band, likewise.
        masks: for each view where its mask goes on the device, bool ``[N, h, w]`` or ``[N, T, h,
            w]``, see `fastload_kernels.reference.valid`; empty for none.
        work: scratch of `LaunchPlan.work_bytes` on the device, aligned to 16 bytes.

    Raises:
        ValueError: where a shape does not fit, or a parameter is beyond what its view may draw.
    """
    T, C, _, _ = plan.shape
    N, V = len(planes), len(plan.bounds)
    _expect("planes", planes, (N, T), np.uint64)
    _expect("scaling.offset", scaling.offset, (C,), np.float32)
    if scaling.labels != plan.labels:
        raise ValueError(f"scaling.labels is {scaling.labels}, which is not what was planned for")
    for what, given in (("outs", outs), ("masks", masks or outs)):
        if len(given) != V:
            raise ValueError(f"{what}: expected one for each of {V} views, got {len(given)}")
    jobs, bands = plan.jobs.copy(), np.empty(C, BAND)
    addresses = [pointer(out) for out in outs]
    jobs["out"] = [addresses[v] for v in jobs["column"]]
    for name in ("offset", "scale", "low", "high"):
        bands[name] = getattr(scaling, name)
    bands["nodata"] = np.nan if nodata is None else nodata
    bands["nan"], bands["plus"], bands["minus"] = scaling.substitutes()
    tables: dict[str, NDArray[Any]] = {"jobs": jobs, "bands": bands, "planes": planes}
    needed, lines = plan.work_bytes(N), 0
    if needed:
        if pointer(work) == 0:
            raise ValueError(f"work: expected {needed} bytes of scratch")
        tables |= steps.tables(plan.steps, addresses, pointer(work), N, C, scaling.rgb)
        tables["source"] = np.array([V, *plan.shape], np.int64)
        lines = pointer(work) + needed - max(part.line_bytes(N) for part in plan.steps)
    if masks:
        tables["masks"] = plan.mask_jobs.copy()
        tables["masks"]["out"] = [pointer(out) for out in masks]
    if params is not None:
        _expect("params", params, (N, V), VIEW_PARAMS)
        obeyed = without_colours(params) if scaling.labels else params
        obeyed = obeyed if plan.grid is None else plan.grid.mapped(obeyed)
        for column, bounds in zip(obeyed.T, plan.bounds, strict=True):
            _within(column, bounds)
        tables["params"] = params
    if keep is not None:
        _expect("keep", keep, (N, V, C), np.uint8)
        tables["keep"] = keep
    return _joined(tables, N, lines)


def _joined(tables: dict[str, NDArray[Any]], samples: int, lines: int) -> Packed:
    at, pieces, end = {}, [], 0
    for name, table in tables.items():
        at[name] = end
        pieces.append(table.tobytes())
        pieces.append(bytes(-table.nbytes % 16))
        end += len(pieces[-2]) + len(pieces[-1])
    return Packed(np.frombuffer(b"".join(pieces), np.uint8), samples, at, lines)


def _expect(
    name: str, array: NDArray[np.generic], shape: tuple[int, ...], dtype: np.dtype | type
) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise ValueError(
            f"{name}: expected {np.dtype(dtype)} {shape}, got {array.dtype} {array.shape}"
        )


def _within(params: NDArray[np.void], bounds: Bounds) -> None:
    if len(params) == 0:
        return
    crop = int(params["height"].max()), int(params["width"].max())
    radius = blur_radius(float(params["sigma"].max()))
    if crop[0] > bounds.crop[0] or crop[1] > bounds.crop[1]:
        raise ValueError(f"params: crops of {crop}, but {bounds.view} allows {bounds.crop}")
    if radius > bounds.radius:
        raise ValueError(
            f"params: a blur of radius {radius}, but {bounds.view} allows {bounds.radius}"
        )
    if not bounds.contrast and (params["contrast"] != 1).any():
        raise ValueError(f"params: a contrast, but {bounds.view} draws none")


def render(
    device: Device,
    plan: LaunchPlan,
    packed: Packed,
    data: int | HasPointer,
    *,
    means: int | HasPointer = 0,
    params: int | HasPointer = 0,
    keep: int | HasPointer = 0,
    counts: int | HasPointer = 0,
    absent: int | HasPointer = 0,
) -> None:
    """Make all views of a batch; enqueued, not waited for.

    Args:
        device: where.
        plan, packed: see there.
        data: where `packed.data` lies on the device.
        means: scratch of `LaunchPlan.mean_bytes`.
        params, keep: on the device, where `packed` has none; see `pack`. 0 for no `keep`.
        counts: uint32 ``[N, V, 3]``, or 0, and then a kernel runs that does not count, with the
            same pixels. Added to it: how many output pixels, over all bands that are kept, are
            nearest to a source pixel that is NaN, infinite, or no-data. See
            `fastload_kernels.reference.count`.
        absent: pixels ``[C, H, W]`` on the device that stand for timestamps that a sample does not
            have: where `planes` has their address, nothing is counted and masks are False.

    Raises:
        ValueError: where neither `packed` nor an argument has what is needed.
    """
    base, N, V = pointer(data), packed.samples, len(plan.bounds)
    given = {"params": pointer(params), "keep": pointer(keep)}
    at = given | {name: base + start for name, start in packed.at.items()}
    if at["params"] == 0:
        raise ValueError("params: neither packed nor given")
    if plan.mean_bytes(N) and pointer(means) == 0:
        raise ValueError(f"means: expected {plan.mean_bytes(N)} bytes of scratch")
    tables = [at["planes"], at["params"], at["keep"], at["bands"], means]
    shape = (V, *plan.shape)
    read = (("SOURCE", SOURCES[plan.source]),)
    if plan.mean_bytes(N):
        parts = min(_PARTS, plan.shape[1])
        args = [at["jobs"], len(plan.jobs), plan.timestamps, parts, *tables, *shape]
        grid, shared = N * plan.timestamps * parts, plan.measure_shared
        device.launch("measure.cu", "measure", grid, BLOCK, args, defines=read, shared=shared)
    last, count = str(int(plan.channels_last)), str(int(pointer(counts) != 0))
    written = (("OUTPUT", OUTPUTS[plan.output]), ("CHANNELS_LAST", last), ("COUNT", count))
    if "masks" in packed.at:
        seen = [at[name] for name in ("planes", "params", "bands")]
        args = [at["masks"], V, plan.mask_blocks, *seen, absent, *shape]
        device.launch("mask.cu", "mask", N * plan.mask_blocks, BLOCK, args, defines=read)
    if plan.blocks:
        jobs, defines = len(plan.jobs), (*read, *written, ("STEPPED", "0"))
        args = [at["jobs"], jobs, plan.blocks, plan.timestamps, *tables, counts, absent, *shape]
        grid, shared = N * plan.blocks, plan.shared
        device.launch("view.cu", "view", grid, BLOCK, args, defines=defines, shared=shared)
    for part in plan.steps:
        steps.launch(device, part, at, N, shape, packed.lines, read, written, counts, absent)
