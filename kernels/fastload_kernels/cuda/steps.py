"""Launches for views whose operations run one after another: `view.cu` for geometry, `colour.cu`.

They share `work`: for each view its images as float32 levels ``[N, T, C, h, w]`` (of the source's
size where the crop comes last), and behind them a band in float64 for each image that a launch
makes.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastload_kernels.cuda.launch import Defines, Device, HasPointer
from fastload_kernels.cuda.tiles import BLOCK
from fastload_kernels.view import STEPS, View

RGB = ("red", "green", "blue")


@dataclass(frozen=True)
class StepPlan:
    """Views that crop first, or those that crop last."""

    last: bool
    jobs: NDArray[np.void]
    """``[v]`` records of `planning.JOB`, without addresses."""
    blocks: int
    """Of `view.cu` and a sample."""
    images: int
    """Of a sample."""
    shared: int
    """Bytes of shared memory of `view.cu`."""
    radius: int
    """Of the largest blur."""
    pixels: tuple[int, ...]
    """Of a band, in `work`, of each view."""

    @property
    def name(self) -> str:
        """Of its table of jobs."""
        return "last" if self.last else "first"

    @property
    def colour_shared(self) -> int:
        """Bytes of shared memory of `colour.cu`: a sum for each thread, half of the blur."""
        return 8 * (BLOCK + self.radius + 1)

    def bytes_of(self, samples: int, bands: int) -> list[int]:
        """Of each view's images in `work`, multiples of 16."""
        sizes = zip(self.jobs["timestamps"].tolist(), self.pixels, strict=True)
        return [-(-4 * samples * T * bands * n // 16) * 16 for T, n in sizes]

    def line_bytes(self, samples: int) -> int:
        """Of the bands in float64."""
        return 8 * samples * self.images * max(self.pixels)


def work_bytes(plans: Sequence[StepPlan], samples: int, bands: int) -> int:
    """Size of `work`."""
    images = sum(sum(plan.bytes_of(samples, bands)) for plan in plans)
    return images + max((plan.line_bytes(samples) for plan in plans), default=0)


def tables(
    plans: Sequence[StepPlan],
    outs: Sequence[int],
    work: int,
    samples: int,
    bands: int,
    rgb: tuple[int, int, int] | None,
) -> dict[str, NDArray[np.void]]:
    """The jobs of each plan, with their addresses.

    Args:
        plans: of the launches.
        outs: for each view of all where its pixels go.
        work: address of the scratch.
        samples, bands: N and C.
        rgb: which bands are red, green and blue.

    Raises:
        ValueError: where a view wants these, and they are not known.
    """
    found = {}
    for plan in plans:
        jobs = plan.jobs.copy()
        wanted = jobs["red"] >= 0
        if wanted.any() and rgb is None:
            raise ValueError(
                "View.colours 'rgb' is for red, green and blue alone, which these "
                f"{bands} bands are not known to be"
            )
        for name, band in zip(RGB, rgb or (), strict=False):
            jobs[name] = np.where(wanted, band, -1)
        for job, size in zip(jobs, plan.bytes_of(samples, bands), strict=True):
            job["out"], job["work"] = outs[job["column"]], work
            work += size
        found[plan.name] = jobs
    return found


def set_steps(jobs: NDArray[np.void], views: Sequence[View]) -> None:
    """Say what is kept between operations, and whose colours they are."""
    jobs["steps"] = [STEPS.index(view.steps) for view in views]
    for name in RGB:
        jobs[name] = [0 if view.colours == "rgb" else -1 for view in views]


def launch(
    device: Device,
    plan: StepPlan,
    at: Mapping[str, int | HasPointer],
    samples: int,
    shape: tuple[int, ...],
    lines: int,
    read: Defines,
    written: Defines,
    counts: int | HasPointer,
    absent: int | HasPointer,
) -> None:
    """Make the views of a plan; enqueued, not waited for.

    Args:
        device: where.
        plan: of the views.
        at: addresses of the tables.
        samples: N.
        shape: (V, T, C, H, W).
        lines: address of the float64 bands.
        read, written: defines for the source's pixels, and for the output's and counting.
        counts, absent: see `view.render`.
    """
    given = [at["planes"], at["params"], at["keep"], at["bands"]]
    most = max(plan.pixels)

    def colour() -> None:
        args = [at[plan.name], len(plan.jobs), plan.images, int(plan.last), lines, most]
        args += [*given, counts, at["source"], absent]
        grid, shared = samples * plan.images, plan.colour_shared
        device.launch(
            "colour.cu", "colour", grid, BLOCK, args, defines=read + written, shared=shared
        )

    def view(defines: Defines) -> None:
        args = [at[plan.name], len(plan.jobs), plan.blocks, plan.images, *given, 0, 0, 0, *shape]
        grid = samples * plan.blocks
        device.launch("view.cu", "view", grid, BLOCK, args, defines=defines, shared=plan.shared)

    if plan.last:
        colour()
        last = [d for d in written if d[0] != "COUNT"]
        view((("SOURCE", "float"), *last, ("COUNT", "0"), ("STEPPED", "2")))
    else:
        plain = (("OUTPUT", "float"), ("CHANNELS_LAST", "0"), ("COUNT", "0"), ("STEPPED", "1"))
        view(read + plain)
        colour()


def pixels_of(view: View, source: tuple[int, int]) -> int:
    """Of a band of a view's images in `work`."""
    return math.prod(source if view.crop_last else view.shape)
