"""Where windows lie in scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Border = Literal["refuse", "drop", "pad", "shift"]
"""What is done about windows that hang over the border: ``refuse`` the scene, ``drop`` them,
``pad`` them, or ``shift`` them back inside, so that they overlap others."""
BORDERS = ("refuse", "drop", "pad", "shift")


@dataclass(frozen=True)
class Windows:
    """N windows of S scenes, by scene, row and column.

    Attributes:
        scene: int64 ``[N]``, which scene each lies in.
        top, left: int64 ``[N]``, pixels.
        height, width: of all, pixels.
    """

    scene: NDArray[np.int64]
    top: NDArray[np.int64]
    left: NDArray[np.int64]
    height: int
    width: int

    def __len__(self) -> int:
        return len(self.scene)


def cut(
    sizes: ArrayLike,
    size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    border: Border = "refuse",
    keys: Sequence[str] | None = None,
) -> Windows:
    """Windows that lie in a grid from the upper left corner on.

    Args:
        sizes: height and width of each scene ``[S, 2]``, pixels.
        size: height and width of a window.
        stride: from one to the next, as `size` by default.
        border: see `Border`; ``shift`` wants scenes of a window's size at least.
        keys: what errors call the scenes; by default their numbers.

    Raises:
        ValueError: names the first scene whose size does not fit, or says that no window is left.
    """
    if border not in BORDERS:
        raise ValueError(f"border must be one of {BORDERS}, got {border!r}")
    window = _pair(size)
    step = window if stride is None else _pair(stride)
    if min(*window, *step) < 1:
        raise ValueError(f"size and stride of windows must be positive, got {size} and {stride}")
    parts = []
    for scene, shape in enumerate(np.asarray(sizes, np.int64).reshape(-1, 2).tolist()):
        try:
            starts = [_starts(n, w, s, border) for n, w, s in zip(shape, window, step, strict=True)]
        except ValueError as error:
            name = scene if keys is None else repr(keys[scene])
            raise ValueError(f"scene {name} of {shape[0]} x {shape[1]}: {error}") from error
        grid = np.stack(np.meshgrid(*starts, indexing="ij"), -1).reshape(-1, 2)
        parts.append(np.column_stack([np.full(len(grid), scene), grid]))
    found = np.concatenate([np.empty((0, 3), np.int64), *parts])
    if not len(found):
        raise ValueError(f"no window of {window[0]} x {window[1]} is in {len(parts)} scenes")
    scene_, top, left = (np.ascontiguousarray(column) for column in found.T)
    return Windows(scene_, top, left, *window)


def _starts(length: int, window: int, step: int, border: Border) -> NDArray[np.int64]:
    """Where the windows of one axis begin."""
    inside = np.arange(0, length - window + 1, step, dtype=np.int64)
    over = length - window - inside[-1] if len(inside) else length
    if not over or border == "drop":
        return inside
    if border == "pad":
        return np.arange(0, max(length - window + step, 1), step, dtype=np.int64)
    if border == "refuse" or not len(inside):
        raise ValueError(f"windows of {window} pixels, {step} apart, do not fill {length}")
    return np.append(inside, length - window)


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size
