"""The MoCo-v2 view by DALI's own operators on the device that the pixels are on.

The operators are those of the peer on the CPU, see there for what DALI can and cannot do. The
pixels are handed over as they lie on the device, a whole batch at a time; dice and crop windows are
drawn on the CPU, as DALI does.
"""

from collections.abc import Callable
from typing import Any

import torch.utils.dlpack
from torch import Tensor

from benchmarks.peers.augment_dali import fn, pipeline_def, view


def _pipeline(batch: Any, device: str, size: int, **options: Any) -> Any:
    @pipeline_def(enable_conditionals=True, **options)  # type: ignore[untyped-decorator]
    def views() -> Any:
        x = fn.external_source(lambda: batch, layout="CHW", device=device, no_copy=True)
        return view(x, size)

    return views()


def views(source: Tensor, size: int) -> Callable[[], Tensor]:
    """Views of int16 ``[B, C, H, W]``: each call gives float32 ``[B, C, size, size]``.

    They are bands last in memory, and DALI's until the next call.
    """
    is_cuda = source.device.type == "cuda"
    pipeline = _pipeline(
        source if is_cuda else source.numpy(),
        "gpu" if is_cuda else "cpu",
        size,
        batch_size=len(source),
        num_threads=4,
        device_id=source.device.index if is_cuda else None,
        prefetch_queue_depth=2,
        seed=0,
    )

    def made() -> Tensor:
        (found,) = pipeline.run()
        return torch.utils.dlpack.from_dlpack(found.as_tensor()).permute(0, 3, 1, 2)

    return made
