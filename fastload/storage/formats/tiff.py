"""Pixels of the plainest TIFF files straight from their bytes: uncompressed strips.

That is how the trees of SSL4EO-S12 v1.0 lie on disk, in some 52 files a sample, where opening each
in GDAL takes most of the time. All that is not plain is left to `geotiff`, damage too, so that one
place says what is wrong. Source: TIFF 6.0 (1992).
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS, _COUNTS, _PLANAR, _PREDICTOR = 273, 277, 278, 279, 284, 317
_FORMAT = 339
_TILES = (322, 323, 324, 325)
_PLAIN = {
    _COMPRESSION: (1,), _PHOTOMETRIC: (1, 2), _FILL_ORDER: (1,), _PLANAR: (1, 2), _PREDICTOR: (1,),
}  # fmt: skip
"""What tags may say; each is 1 where it is absent."""
_KINDS = {1: "u", 2: "i", 3: "f"}
_DTYPES = ("u1", "u2", "u4", "i2", "i4", "f4", "f8")
_TYPES = {1: "B", 3: "H", 4: "I"}
"""Of tags: byte, short, long."""
_ENTRY = 12
_MOST_TAGS = 256
Tags = dict[int, tuple[int, ...]]


def plain_pixels(content: bytes) -> NDArray[Any] | None:
    """Pixels ``[C, H, W]`` of a file, a view of its bytes; None where it is no plain TIFF, is
    damaged, or anything about it is unusual."""
    try:
        tags = _tags(content)
        return None if tags is None else _pixels(content, tags)
    except (struct.error, LookupError, ValueError, OverflowError):
        return None


def _tags(content: bytes) -> Tags | None:
    """The whole numbers of the first directory, of the tags that matter; None for other bytes."""
    if content[:4] != b"II*\0":
        return None
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    if count > _MOST_TAGS:
        return None
    found: Tags = {}
    for place in range(at + 2, at + 2 + count * _ENTRY, _ENTRY):
        tag, kind, n = struct.unpack_from("<HHI", content, place)
        if tag in found:
            return None
        if tag <= _FORMAT and kind in _TYPES and n <= len(content):
            text = f"<{n}{_TYPES[kind]}"
            inside = struct.calcsize(text) <= 4
            start = place + 8 if inside else struct.unpack_from("<I", content, place + 8)[0]
            found[tag] = struct.unpack_from(text, content, start)
    return found


def _pixels(content: bytes, tags: Tags) -> NDArray[Any] | None:
    C = tags.get(_SAMPLES, (1,))[0]
    formats, bits = tags.get(_FORMAT, (1,) * C), tags[_BITS]
    usual = all(tags.get(tag, (1,))[0] in values for tag, values in _PLAIN.items())
    if not usual or any(tag in tags for tag in _TILES) or C < 1:
        return None
    if {len(formats), len(bits)} != {C} or len(set(formats)) > 1 or len(set(bits)) > 1:
        return None
    name = f"{_KINDS[formats[0]]}{bits[0] // 8}"
    if name not in _DTYPES or bits[0] % 8:
        return None
    H, W, apart = tags[_HEIGHT][0], tags[_WIDTH][0], C > 1 and tags.get(_PLANAR, (1,))[0] == 2
    shape = (C, H, W) if apart else (H, W, C)
    data = _joined(content, tags, H, W * (1 if apart else C) * bits[0] // 8, C if apart else 1)
    if data is None:
        return None
    pixels = np.frombuffer(data, f"<{name}").reshape(shape)
    pixels = pixels if apart else pixels.transpose(2, 0, 1)
    return pixels if pixels.dtype.isnative else pixels.astype(pixels.dtype.newbyteorder("="))


def _joined(content: bytes, tags: Tags, H: int, row: int, planes: int) -> Any:
    """The bytes of all strips one after the other; None where some are not as they must be.

    Args:
        content: of the file.
        tags: its tags.
        H: rows of a plane.
        row: bytes of a row.
        planes: how many lie one after the other.
    """
    rows = min(tags.get(_ROWS, (H,))[0], H)
    if H < 1 or row < 1 or rows < 1:
        return None
    each = [min(rows, H - first) * row for first in range(0, H, rows)] * planes
    offsets, counts = tags[_OFFSETS], tags[_COUNTS]
    ends = [at + n for at, n in zip(offsets, each, strict=True)]
    if list(counts) != each or min(offsets) < 8 or max(ends) > len(content):
        return None
    if all(a == b for a, b in zip(ends, offsets[1:], strict=False)):
        return memoryview(content)[offsets[0] : ends[-1]]
    return b"".join(content[at:end] for at, end in zip(offsets, ends, strict=True))
