"""Loops over many byte ranges that release the GIL for all of them: reading, check-summing."""

import ctypes
from functools import cache
from typing import Any

import numpy as np
from isal import isal_zlib
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from fastload_kernels.compiled import jit

_jit = jit()
_pread = types.ExternalFunction(
    "pread", types.int64(types.int32, types.uintp, types.uintp, types.int64)
)
_lseek = types.ExternalFunction("lseek", types.int64(types.int32, types.int64, types.int32))
_SEEK_END = 2


@_jit
def read_ranges(fd, length, offset, size, address, done):  # type: ignore[no-untyped-def]
    """Read ranges of open files to addresses; all arrays are ``[n]``.

    Args:
        fd: int32 descriptors. Only where two neighbours differ is the file's size looked at.
        length: int64, the bytes that each file must have.
        offset, size: int64.
        address: int64, where each goes.
        done: bool, receives whether all of it was read.
    """
    found = np.int64(0)
    for i in range(fd.shape[0]):
        if i == 0 or fd[i] != fd[i - 1]:
            found = _lseek(fd[i], 0, _SEEK_END)
        done[i] = False
        if found != length[i]:
            continue
        at = np.int64(0)
        while at < size[i]:
            got = _pread(fd[i], address[i] + at, size[i] - at, offset[i] + at)
            if got <= 0:
                break
            at += got
        done[i] = at == size[i]


@intrinsic  # type: ignore[untyped-decorator]
def _call_crc(context: Any, function: Any, address: Any, size: Any) -> Any:
    """``uint32 function(uint32 start, const void*, uint64 size)`` at an address, from 0."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(word, [word, byte, ir.IntType(64)])
        pointer = builder.inttoptr(args[0], kind.as_pointer())
        start = ir.Constant(word, 0)
        return builder.call(pointer, [start, builder.inttoptr(args[1], byte), args[2]])

    return types.uint32(types.int64, types.int64, types.int64), generate


@_jit
def _crc_ranges(function, address, size, out):  # type: ignore[no-untyped-def]
    for i in range(address.shape[0]):
        out[i] = _call_crc(function, address[i], size[i])


@cache
def _crc_address() -> int:
    """Address of ISA-L's CRC-32, which its Python package exports; 0 where it hides it."""
    function = getattr(ctypes.CDLL(isal_zlib.__file__), "crc32_gzip_refl", None)
    return 0 if function is None else ctypes.cast(function, ctypes.c_void_p).value or 0


def crc_ranges(address: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.uint32]:
    """CRC-32 ``[n]`` of `size` bytes at each address ``[n]``."""
    out = np.empty(len(address), np.uint32)
    if _crc_address():
        _crc_ranges(_crc_address(), address, size, out)
    else:
        for i, (at, n) in enumerate(zip(address.tolist(), size.tolist(), strict=True)):
            out[i] = isal_zlib.crc32(bytes_at(at, n))
    return out


def bytes_at(address: int, size: int) -> NDArray[np.uint8]:
    """The bytes at an address, not copied; whoever owns them must outlive the array."""
    if not size:
        return np.empty(0, np.uint8)
    memory: Any = (ctypes.c_uint8 * size).from_address(address)
    return np.frombuffer(memory, np.uint8)
