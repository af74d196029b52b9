"""One view of one timestamp on a device: `reference.apply`'s arguments, a launch of one."""

import dataclasses

import numpy as np
import torch

from fastload_kernels import Scaling, View
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.shared_memory import SMALLEST, SharedMemory
from fastload_kernels.cuda.view import pack, render
from tests.kernels.cuda.devices import Place


def able(view: View) -> View:
    """The view, allowed to draw every crop, blur and contrast that tests put into its records."""
    return dataclasses.replace(
        view, scale=(0.01, 1), ratio=(0.01, 100), blur=1, sigma=(0, 2.5), jitter=1, contrast=1
    )


def on_device(
    place: Place,
    source: np.ndarray,
    p: np.void,
    view: View,
    scaling: Scaling,
    keep: np.ndarray | None = None,
    dtype: str = "float32",
    channels_last: bool = False,
    counts: torch.Tensor | None = None,
    nodata: float | None = None,
    memory: SharedMemory = SMALLEST,
) -> torch.Tensor:
    """The view ``[C, h, w]`` as the device makes it, poisoned where a pixel was not written."""
    (C, H, W), (h, w) = source.shape, view.shape
    shape = (1, C, H, W)
    kind, labels = str(source.dtype), scaling.labels
    layout = plan_views([able(view)], shape, kind, dtype, channels_last, memory, labels)
    out_shape = (h, w, C) if channels_last else (C, h, w)
    out = torch.full(out_shape, torch.nan, dtype=getattr(torch, dtype), device=place.memory)
    pixels = place.upload(source)
    work = torch.full([max(1, layout.work_bytes(1)) // 4 + 1], torch.nan, device=place.memory)
    packed = pack(
        layout,
        [out],
        np.array([[pixels.data_ptr()]], np.uint64),
        scaling,
        nodata=nodata,
        params=np.array([[p]]),
        keep=None if keep is None else keep[None, None],
        work=work,
    )
    means = torch.full([layout.mean_bytes(1) // 4], torch.nan, device=place.memory)
    data = place.upload(packed.data)
    render(place.device, layout, packed, data, means=means, counts=0 if counts is None else counts)
    result = out.cpu()
    return result.movedim(-1, 0) if channels_last else result
