"""Planning a launch of the view operation: what holds for every batch of a recipe and a source."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda.shared_memory import SMALLEST, SharedMemory
from fastload_kernels.cuda.steps import RGB, StepPlan, pixels_of, set_steps, work_bytes
from fastload_kernels.cuda.tiles import BLOCK, Bounds, Tile, choose
from fastload_kernels.grid import Grid
from fastload_kernels.view import View, geometry

JOB = np.dtype(
    [("out", "<u8"), ("work", "<u8")]
    + [(name, "<i8") for name in ("up_y", "down_y", "up_x", "down_x")]
    + [(name, "<i4") for name in ("column", "height", "width", "most_taps")]
    + [(name, "<i4") for name in ("timestamps", "first_timestamp", "rows", "columns")]
    + [(name, "<i4") for name in ("strips", "tiles", "first_block", "span", "labels")]
    + [(name, "<i4") for name in ("drawn_height", "drawn_width", "steps", *RGB)],
    align=True,
)
"""One view of a launch; the struct `Job` in job.cuh."""

SOURCES = {"int16": "short", "uint8": "u8", "uint16": "u16", "float16": "Half", "float32": "float"}
"""Pixels that are read as they are, and their names in the kernels."""
OUTPUTS = {"float32": "float", "float16": "Half", "bfloat16": "Bfloat"}
"""Pixels that are written, and their names in the kernels."""
_PLANE = 2**31 - 1


@dataclass(frozen=True)
class LaunchPlan:
    """A launch but for its addresses: geometry that holds for every batch."""

    bounds: tuple[Bounds, ...]
    shape: tuple[int, int, int, int]
    """T, C, H, W of the source."""
    jobs: NDArray[np.void]
    """Records of `JOB`, without addresses, of the views whose operations are fused."""
    blocks: int
    """Of a sample."""
    mask_jobs: NDArray[np.void]
    """Of all V views, for masks, whose tiles are runs of pixels."""
    mask_blocks: int
    """Of a sample."""
    timestamps: int
    """Of all views of a sample together: all of them for a view that shows all, else one."""
    shared: int
    """Bytes of shared memory."""
    source: str
    output: str
    channels_last: bool
    grid: Grid | None = None
    """Of the source, where views are drawn on another."""
    steps: tuple[StepPlan, ...] = ()
    """Of the other views."""

    @property
    def labels(self) -> bool:
        """Whether it is for labels."""
        return not self.steps and bool(self.jobs["labels"].all())

    def work_bytes(self, samples: int) -> int:
        """Scratch that `pack` wants for views whose operations are not fused; 0 for none."""
        return work_bytes(self.steps, samples, self.shape[1])

    def mean_bytes(self, samples: int) -> int:
        """Scratch that `render` wants for the band means; 0 where no view draws a contrast."""
        C = self.shape[1]
        contrast = any(self.bounds[v].contrast for v in self.jobs["column"].tolist())
        return 4 * samples * self.timestamps * C if contrast else 0

    @property
    def measure_shared(self) -> int:
        """Bytes of shared memory of a block that makes band means: a sum for each thread, a weight
        for each source row, filled up to fours, and for each column."""
        H, W = self.shape[2:]
        return 8 * BLOCK + 4 * (H + 3 + W)


def plan_views(
    views: Sequence[View],
    shape: tuple[int, int, int, int],
    source: str,
    output: str = "float32",
    channels_last: bool = False,
    memory: SharedMemory = SMALLEST,
    labels: bool = False,
    grid: Grid | None = None,
) -> LaunchPlan:
    """Describe the launch that makes all `views` of a modality.

    Args:
        views: the V descriptions.
        shape: (T, C, H, W) of every sample's source.
        source: dtype of the pixels on disk, one of `SOURCES`.
        output: dtype of the views, one of `OUTPUTS`.
        channels_last: whether bands are the fastest axis of the views.
        memory: of the device that will run it. The default fits every supported device; larger ones
            are faster with tiles for their own, see `SharedMemory.of`.
        labels: whether the pixels are, see `Scaling`.
        grid: of the source, where parameters are those of views of another image.

    Raises:
        ValueError: where a dtype is not offered, a view is too large for shared memory, or a plane
            too large for 32-bit offsets.
    """
    if source not in SOURCES:
        raise ValueError(f"source dtype must be one of {list(SOURCES)}, got {source!r}")
    if output not in OUTPUTS:
        raise ValueError(f"output dtype must be one of {list(OUTPUTS)}, got {output!r}")
    T, C, H, W = shape
    item = 4 if output == "float32" else 2
    _check_planes(views, (H, W), source, C * item if channels_last else item)
    seen = [geometry(view, "nearest") if labels else view for view in views]
    bounds = tuple(Bounds.of(view, H, W, grid) for view in seen)
    # Where operations are not fused, `view.cu` is for the geometry alone.
    chosen = [v for v, view in enumerate(seen) if view.steps == "fused"]
    placed = [
        bounds[v] if v in chosen else Bounds.of(geometry(view), H, W, grid)
        for v, view in enumerate(seen)
    ]
    staged = [v in chosen or view.crop_last for v, view in enumerate(seen)]
    tiles = [
        choose(bound, C * item if channels_last and stages else 0, memory)
        for bound, stages in zip(placed, staged, strict=True)
    ]
    every = _jobs(placed, tiles, T)
    every["labels"] = [labels or v not in chosen for v in range(len(seen))]
    set_steps(every, seen)
    _set_grid(every, grid)
    jobs, blocks, timestamps = _part(every, chosen)
    shared = max((tiles[v].shared for v in chosen), default=0)
    masks = _mask_jobs(every)
    steps = tuple(_steps(every, seen, bounds, tiles, (H, W)))
    plan = LaunchPlan(
        bounds, shape, jobs, blocks, *masks, timestamps, shared, source, output, channels_last,
        grid, steps,
    )  # fmt: skip
    if plan.mean_bytes(1) and plan.measure_shared > memory.dynamic:
        raise ValueError(
            f"source of {H} x {W}: its band means, for contrast, take {plan.measure_shared} bytes "
            f"of shared memory, a block may have {memory.dynamic}"
        )
    return plan


def _check_planes(
    views: Sequence[View], source_shape: tuple[int, int], source: str, pixel_bytes: int
) -> None:
    """The kernels count the bytes of a plane in 32 bits."""
    H, W = source_shape
    planes = {f"source of {H} x {W} {source}": H * W * np.dtype(source).itemsize}
    planes |= {f"View.size {view.size}": math.prod(view.shape) * pixel_bytes for view in views}
    for name, size in planes.items():
        if size > _PLANE:
            raise ValueError(f"{name}: a plane has {size} bytes, at most {_PLANE} are possible")


def _steps(
    every: NDArray[np.void],
    views: Sequence[View],
    bounds: Sequence[Bounds],
    tiles: Sequence[Tile],
    source: tuple[int, int],
) -> Iterator[StepPlan]:
    """Plans of the views whose operations are not fused."""
    for last in (False, True):
        some = [v for v, x in enumerate(views) if x.steps != "fused" and x.crop_last == last]
        if some:
            jobs, blocks, images = _part(every, some)
            shared = max(tiles[v].shared for v in some)
            radius = max(bounds[v].radius for v in some)
            pixels = tuple(pixels_of(views[v], source) for v in some)
            yield StepPlan(last, jobs, blocks, images, shared, radius, pixels)


def _part(every: NDArray[np.void], chosen: list[int]) -> tuple[NDArray[np.void], int, int]:
    """Some of the jobs, for a launch of their own, with how many blocks and images they have."""
    jobs = every[chosen]
    jobs["first_timestamp"] = np.cumsum(jobs["timestamps"]) - jobs["timestamps"]
    return jobs, _number_blocks(jobs), int(jobs["timestamps"].sum())


def _jobs(bounds: Sequence[Bounds], tiles: Sequence[Tile], timestamps: int) -> NDArray[np.void]:
    """A record for each view."""
    jobs = np.zeros(len(tiles), JOB)
    for v, (job, bound, tile) in enumerate(zip(jobs, bounds, tiles, strict=True)):
        h, w = bound.view.shape
        job["column"], job["height"], job["width"] = v, h, w
        job["most_taps"] = bound.taps
        job["timestamps"] = timestamps if bound.view.timestamp == "all" else 1
        job["rows"], job["columns"], job["span"] = tile.rows, tile.columns, tile.span
        job["strips"], job["tiles"] = math.ceil(h / tile.rows), math.ceil(w / tile.columns)
    return jobs


def _set_grid(jobs: NDArray[np.void], grid: Grid | None) -> None:
    """Say how boxes are mapped, if they are."""
    if grid is not None:
        jobs["drawn_height"], jobs["drawn_width"] = grid.rows.drawn, grid.columns.drawn
        jobs["up_y"], jobs["down_y"] = grid.rows.up, grid.rows.down
        jobs["up_x"], jobs["down_x"] = grid.columns.up, grid.columns.down


def _mask_jobs(jobs: NDArray[np.void]) -> tuple[NDArray[np.void], int]:
    """As `_jobs`, for masks."""
    masks = jobs.copy()
    masks["strips"] = 1
    masks["tiles"] = -(-jobs["height"] * jobs["width"] // BLOCK)
    return masks, _number_blocks(masks)


def _number_blocks(jobs: NDArray[np.void]) -> int:
    """Say which block is the first of each view; how many they have together."""
    blocks = jobs["timestamps"] * jobs["strips"] * jobs["tiles"]
    jobs["first_block"] = np.cumsum(blocks) - blocks
    return int(blocks.sum())
