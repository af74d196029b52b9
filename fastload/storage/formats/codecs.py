"""Decoding of one chunk into a buffer that the caller owns.

What a codec or a filter promises in its own header is compared with what the array's header does
before memory is taken for it.

Blosc is called through its context function with one thread, so that it keeps no global state,
takes no lock and may run in any thread. Headers are checked against the size that the array header
promises before anything is decoded.
"""

import ctypes
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numcodecs.blosc
import numcodecs.lz4
import numcodecs.zstd
import numpy as np
from numpy.typing import NDArray

from fastload.storage.formats.filters import Chain, encoded_sizes, undo
from fastload.storage.formats.streams import STREAMS, unpack, unpack_at_most

Buffer = bytes | memoryview | NDArray[np.uint8]

BLOSC_HEADER = struct.Struct("<BBBBIII")
LZ4_HEADER = struct.Struct("<I")
"""How many bytes an LZ4 block holds, as numcodecs writes it in front."""
BLOSC_CODECS = ("blosclz", "lz4", "lz4hc", "zlib", "zstd")
SUPPORTED = ("blosc", "zstd", "lz4", *STREAMS, "none")
_LZMA_RAW = 3
"""The ``format`` of LZMA streams without a header."""


@dataclass(frozen=True)
class Codec:
    """The ``compressor`` and ``filters`` fields of an array header. What is compressed says the
    rest itself.

    Attributes:
        name: of the compressor.
        filters: what was done before, in that order.
    """

    name: str
    filters: Chain = ()

    @classmethod
    def parse(cls, meta: Mapping[str, Any] | None, filters: Chain = ()) -> "Codec":
        """Read the field.

        Raises:
            ValueError: names a codec that is not supported.
        """
        name = "none" if meta is None else str(meta.get("id"))
        if name not in SUPPORTED:
            raise ValueError(f"compressor {name!r} is not supported, expected one of {SUPPORTED}")
        if name == "blosc" and meta is not None and meta.get("cname", "lz4") not in BLOSC_CODECS:
            raise ValueError(
                f"Blosc codec {meta['cname']!r} is not supported, expected one of {BLOSC_CODECS}"
            )
        if name == "lzma" and meta is not None and meta.get("format", 1) == _LZMA_RAW:
            raise ValueError(
                "compressor 'lzma' of format 3 (raw) is not supported, expected 1 or 2"
            )
        return cls(name, filters)

    @property
    def is_frame(self) -> bool:
        """Whether what is stored is one Blosc frame of the pixels themselves."""
        return self.name == "blosc" and not self.filters

    def encoded_size(self, nbytes: int) -> int:
        """Bytes that the filters make of a chunk, which is what the compressor sees.

        Raises:
            ValueError: where these do not fit each other.
        """
        return encoded_sizes(self.filters, nbytes)[-1]

    def decode(self, data: Buffer, out: NDArray[np.uint8]) -> None:
        """Decode `data` into `out`, uint8 ``[n]`` of exactly the decoded size.

        Raises:
            ValueError: says what in the data does not fit.
        """
        if not self.filters:
            self._unpack(data, out)
            return
        packed = np.empty(self.encoded_size(len(out)), np.uint8)
        self._unpack(data, packed)
        undo(self.filters, packed, out)

    def _unpack(self, data: Buffer, out: NDArray[np.uint8]) -> None:
        if self.name == "blosc":
            _decode_blosc(data, out)
        elif self.name == "zstd":
            _decode_zstd(data, out)
        elif self.name == "lz4":
            _decode_lz4(data, out)
        elif self.name in STREAMS:
            _copy(unpack(self.name, data, len(out)), out)
        else:
            _copy(data, out)

    def decode_at_most(self, data: Buffer, most: int) -> bytes:
        """Decode what does not say elsewhere how large it is. No filter is undone.

        Raises:
            ValueError: where it is damaged, or larger than `most` bytes.
        """
        if self.name in STREAMS:
            return unpack_at_most(self.name, data, most)
        size = self._said_size(data)
        if size is None or size > most:
            raise ValueError(f"expected at most {most} bytes, found {size}")
        decoded = np.empty(size, np.uint8)
        self._unpack(data, decoded)
        return decoded.tobytes()

    def _said_size(self, data: Buffer) -> int | None:
        """How many bytes data holds, as it says itself."""
        if self.name == "blosc":
            return int.from_bytes(bytes(data[4:8]), "little")
        if self.name == "lz4":
            return int.from_bytes(bytes(data[: LZ4_HEADER.size]), "little")
        return _zstd_content_size(data) if self.name == "zstd" else len(data)


def _copy(data: Any, out: NDArray[np.uint8]) -> None:
    if len(data) != len(out):
        raise ValueError(f"expected {len(out)} bytes of pixels, found {len(data)}")
    out[:] = np.frombuffer(data, np.uint8)


def _decode_lz4(data: Buffer, out: NDArray[np.uint8]) -> None:
    if len(data) <= LZ4_HEADER.size:
        raise ValueError(f"an LZ4 block needs a length of 4 bytes, found {len(data)} bytes")
    (size,) = LZ4_HEADER.unpack(bytes(data[: LZ4_HEADER.size]))
    if size != len(out):
        raise ValueError(f"the LZ4 block must say that it holds {len(out)} bytes, found {size}")
    try:
        numcodecs.lz4.decompress(data, out)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the LZ4 block is damaged ({error})") from error


def _decode_zstd(data: Buffer, out: NDArray[np.uint8]) -> None:
    size = _zstd_content_size(data)
    if size != len(out):
        raise ValueError(f"the zstd frame must say that it holds {len(out)} bytes, found {size}")
    try:
        numcodecs.zstd.decompress(data, out)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the zstd frame is damaged ({error})") from error


def _zstd_content_size(data: Buffer) -> int | None:
    """Decoded size as a zstd frame's header has it, or None. Source: RFC 8878, 3.1.1."""
    head = bytes(data[:18])
    if len(head) < 5 or head[:4] != b"\x28\xb5\x2f\xfd":
        raise ValueError("the zstd frame has no signature")
    single, width = head[4] >> 5 & 1, (0, 2, 4, 8)[head[4] >> 6]
    width = width or single
    at = 5 + (1 - single) + (0, 1, 2, 4)[head[4] & 3]
    if not width or len(head) < at + width:
        return None
    return int.from_bytes(head[at : at + width], "little") + (256 if width == 2 else 0)


def _context_decompress() -> Any:
    """C-Blosc's context call, exported by numcodecs' extension; None where it is hidden."""
    function = getattr(ctypes.CDLL(numcodecs.blosc.__file__), "blosc_decompress_ctx", None)
    if function is not None:
        function.restype = ctypes.c_int
        function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return function


_blosc_decompress_ctx = _context_decompress()


def check_blosc_header(data: Buffer, expected: int) -> None:
    """Check a Blosc header against the chunk's decoded size `expected` and its stored size.

    Raises:
        ValueError: names the field.
    """
    if len(data) < BLOSC_HEADER.size:
        raise ValueError(f"a Blosc frame needs a header of 16 bytes, found {len(data)} bytes")
    header = bytes(data[: BLOSC_HEADER.size])
    version, _, _, typesize, nbytes, blocksize, cbytes = BLOSC_HEADER.unpack(header)
    if version not in (1, 2):
        raise ValueError(f"Blosc version must be 1 or 2, found {version}")
    if nbytes != expected:
        raise ValueError(f"Blosc nbytes must be {expected}, found {nbytes}")
    if cbytes != len(data):
        raise ValueError(f"Blosc cbytes must be {len(data)}, found {cbytes}")
    if typesize == 0 or (nbytes and not 0 < blocksize <= max(nbytes, 128)):
        raise ValueError(f"Blosc typesize {typesize} or blocksize {blocksize} makes no sense")


def _decode_blosc(data: Buffer, out: NDArray[np.uint8]) -> None:
    check_blosc_header(data, len(out))
    if _blosc_decompress_ctx is None:
        try:
            numcodecs.blosc.decompress(data, out)
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"the Blosc frame is damaged ({error})") from error
        return
    source = np.frombuffer(data, np.uint8)
    got = _blosc_decompress_ctx(source.ctypes.data, out.ctypes.data, len(out), 1)
    if got != len(out):
        raise ValueError(f"the Blosc frame is damaged (decoding returned {got})")
