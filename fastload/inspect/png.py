"""Images as PNG, without a library for images."""

import base64
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray


def png(image: NDArray[np.uint8]) -> bytes:
    """A PNG of an image ``[H, W, 3]``. Source: PNG specification, third edition, sections 5 and 9:
    each row begins with its filter, 1, by which bytes are differences to the pixel at the left."""
    H, W, C = image.shape
    if C != 3 or image.dtype != np.uint8:
        raise ValueError(f"expected uint8 [H, W, 3], got {image.dtype} {image.shape}")
    rows = np.ones((H, 1 + 3 * W), np.uint8)
    left = np.zeros_like(image)
    left[:, 1:] = image[:, :-1]
    rows[:, 1:] = (image - left).reshape(H, -1)
    head = struct.pack(">2I5B", W, H, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in parts)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def data_uri(image: NDArray[Any]) -> str:
    """An image ``[H, W, 3]`` as the text of an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(png(image)).decode()
