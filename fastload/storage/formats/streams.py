"""Compressed streams that do not say how long they are: unpacked up to a bound, never beyond it."""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

MOST_DICTIONARY = 2**27
"""Bytes that an LZMA stream may ask for while it is unpacked; the highest preset takes half."""


def inflate(data: Any, size: int, wbits: int = -zlib.MAX_WBITS) -> bytes:
    """Inflate to exactly `size` bytes, never more; raw deflate as in zip members by default.

    Raises:
        ValueError: where the stream is damaged, or holds another number of bytes.
    """
    return _exactly(_deflated(wbits), "deflate", data, size)


def unpack(name: str, data: Any, size: int) -> bytes:
    """Unpack to exactly `size` bytes, never more.

    Args:
        name: of a codec in `STREAMS`.
        data: one stream.
        size: bytes that it must hold.

    Raises:
        ValueError: where the stream is damaged, or holds another number of bytes.
    """
    return _exactly(STREAMS[name][0], STREAMS[name][1], data, size)


def unpack_at_most(name: str, data: Any, most: int) -> bytes:
    """As `unpack`, of a stream that may hold fewer than `most` bytes."""
    start, called = STREAMS[name]
    out, ended = _first_bytes(start(), called, data, most)
    if len(out) > most or not ended:
        raise ValueError(f"the {called} stream does not end within {most} bytes")
    return out


def _exactly(start: Callable[[], Any], called: str, data: Any, size: int) -> bytes:
    out, ended = _first_bytes(start(), called, data, size)
    if len(out) != size or not ended:
        raise ValueError(f"the {called} stream does not hold the {size} bytes expected")
    return out


def _first_bytes(stream: Any, called: str, data: Any, most: int) -> tuple[bytes, bool]:
    """At most one byte more than `most`, and whether the stream ended there."""
    try:
        return stream.decompress(data, most + 1), stream.eof
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"the {called} stream is damaged ({error})") from error


def _deflated(wbits: int) -> Callable[[], Any]:
    return lambda: zlib.decompressobj(wbits)


STREAMS: dict[str, tuple[Callable[[], Any], str]] = {
    "zlib": (_deflated(zlib.MAX_WBITS), "deflate"),
    "gzip": (_deflated(zlib.MAX_WBITS | 16), "gzip"),
    "bz2": (bz2.BZ2Decompressor, "bzip2"),
    "lzma": (lambda: lzma.LZMADecompressor(memlimit=MOST_DICTIONARY), "LZMA"),
}
"""By the codec's name, what starts a stream, and what people call it."""
