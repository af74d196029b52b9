"""From the numbers or colours of a file of labels to class numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Classes:
    """Class numbers of what a file of labels holds.

    Attributes:
        of: by the number that a pixel of one band holds, or by its red, green and blue.
        other: class number of all that is not in `of`; None refuses it.
    """

    of: Mapping[int, int] | Mapping[Colour, int]
    other: int | None = None

    def __post_init__(self) -> None:
        if not self.of or len({self._wide(key) for key in self.of}) > 1:
            raise ValueError(f"Classes.of: expected numbers, or colours of three, got {self.of!r}")
        numbers = [*self.of.values(), *([] if self.other is None else [self.other])]
        if any(not 0 <= number <= 255 for number in numbers):
            raise ValueError(f"Classes: class numbers must be in [0, 255], got {numbers}")

    @property
    def bands(self) -> int:
        """How many bands the files must have: 1 or 3."""
        return 3 if isinstance(next(iter(self.of)), tuple) else 1

    def reads(self, bands: int) -> bool:
        """Whether files of so many bands can be read: those of numbers may be grey pictures, with
        red, green and blue alike, and with opacity."""
        return bands == self.bands or (self.bands == 1 and bands in (2, 3, 4))

    @staticmethod
    def _wide(key: int | Colour) -> int:
        return len(key) if isinstance(key, tuple) else 1

    def __call__(self, pixels: NDArray[Any], top: int = 0, left: int = 0) -> NDArray[np.uint8]:
        """The classes ``[1, h, w]``, uint8, of pixels ``[bands, h, w]`` of whole numbers.

        Args:
            pixels: those of a box of an image; of numbers the first band counts, see `reads`.
            top, left: where it is, for errors.

        Raises:
            ValueError: names a number or colour that is not known, and where it is.
        """
        if pixels.dtype.kind not in "iub":
            raise ValueError(f"holds {pixels.dtype}, expected whole numbers")
        codes = pixels[0].astype(np.int64)
        if self.bands == 1:
            if not (pixels[:3] == pixels[0]).all() and len(pixels) > 2:
                raise ValueError("holds colours, expected the numbers of classes")
            pixels = pixels[:1]
        for band in pixels[1:]:
            codes = codes * 256 + band
        keys, values = self._table
        at = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
        known = keys[at] == codes
        if self.other is None and not known.all():
            row, column = np.argwhere(~known)[0].tolist()
            what = self._unknown(pixels[:, row, column].tolist())
            raise ValueError(f"holds {what} at row {top + row}, column {left + column}, expected "
                             f"{_some(self.of)}")  # fmt: skip
        return np.where(known, values[at], np.uint8(self.other or 0)).astype(np.uint8)[None]

    @cached_property
    def _table(self) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Codes ``[n]``, ascending, and their classes."""
        pairs = sorted((_code(key), number) for key, number in self.of.items())
        return np.array([k for k, _ in pairs]), np.array([n for _, n in pairs], np.uint8)

    @staticmethod
    def _unknown(found: list[int]) -> str:
        return f"the number {found[0]}" if len(found) == 1 else f"the colour {tuple(found)}"


def _code(key: int | Colour) -> int:
    if not isinstance(key, tuple):
        return int(key)
    red, green, blue = key
    return (red * 256 + green) * 256 + blue


def _some(of: Mapping[Any, int]) -> str:
    shown = ", ".join(str(key) for key in list(of)[:12])
    return f"one of {shown}" + (", ..." if len(of) > 12 else "")
