"""16-bit floats for Numba, which has none on the CPU: conversions on the bits, in uint16."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload


@intrinsic
def half_to_float(context: Any, bits: Any) -> Any:
    """Float16 bits (uint16) to float32."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.fpext(builder.bitcast(args[0], ir.HalfType()), ir.FloatType())

    return types.float32(types.uint16), generate


@intrinsic
def float_to_half(context: Any, value: Any) -> Any:
    """Float32 to float16 bits (uint16), rounded to nearest even."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), ir.IntType(16))

    return types.uint16(types.float32), generate


@intrinsic
def float_bits(context: Any, value: Any) -> Any:
    """The bits of a float32 as uint32."""

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.bitcast(args[0], ir.IntType(32))

    return types.uint32(types.float32), generate


def load(x: Any) -> Any:
    """One pixel as float32; uint16 holds float16 bits. Only inside Numba."""
    raise NotImplementedError


@overload(load, inline="always")
def _load(x):  # type: ignore[no-untyped-def]
    if x == types.uint16:
        return lambda x: half_to_float(x)
    return lambda x: np.float32(x)


def store_row(row: Any, out: Any, bfloat: Any) -> None:
    """Store a float32 row into a float32 row, or as bits into a uint16 row. Only inside Numba."""
    raise NotImplementedError


@overload(store_row)
def _store_row(row, out, bfloat):  # type: ignore[no-untyped-def]
    if out.dtype == types.float32:

        def copy(row, out, bfloat):  # type: ignore[no-untyped-def]
            for x in range(row.shape[0]):
                out[x] = row[x]

        return copy

    def convert(row, out, bfloat):  # type: ignore[no-untyped-def]
        if bfloat:
            for x in range(row.shape[0]):
                bits = float_bits(row[x])
                rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
                nan = (bits & np.uint32(0x7FFFFFFF)) > np.uint32(0x7F800000)
                out[x] = np.uint16(0x7FC0) if nan else np.uint16(rounded >> np.uint32(16))
        else:
            for x in range(row.shape[0]):
                out[x] = float_to_half(row[x])

    return convert
