"""Weighted gathers from a line of pixels: the horizontal half of resampling.

A vector gather costs about as much as that many single loads. But the taps of neighbouring outputs
lie close together: two vector loads hold them all, and a permutation of lanes picks them. That
needs AVX-512 or AVX2; elsewhere, and where a view shrinks so much that its taps are far apart, the
plain loop serves.
"""

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir
from numba.core import cgutils, config, types
from numba.extending import intrinsic

from fastload_kernels.compiled import jit

_jit = jit(fastmath={"contract"})


def _lanes() -> int:
    """Floats that one permutation handles on this processor; 0 where there is none.

    There is none either where Numba is told to compile for another processor or without AVX.
    """
    if config.CPU_NAME or config.CPU_FEATURES or not config.ENABLE_AVX:
        return 0
    try:
        features = binding.get_host_cpu_features()
    except RuntimeError:  # LLVM does not know the features of every processor that it runs on.
        return 0
    if features.get("avx512f"):
        return 16
    return 8 if features.get("avx2") else 0


LANES = _lanes()
_F32, _I32, _PTR = ir.FloatType(), ir.IntType(32), ir.IntType(64)


def _permute(builder: Any, low: Any, high: Any, index: Any) -> Any:
    """Lanes of ``low ++ high`` that `index` names."""
    floats, ints = low.type, index.type
    module = builder.module
    if LANES == 16:
        kind = ir.FunctionType(floats, [floats, ints, floats])
        name = "llvm.x86.avx512.vpermi2var.ps.512"
        return builder.call(_declared(module, kind, name), [low, index, high])
    kind = ir.FunctionType(floats, [floats, ints])
    function = _declared(module, kind, "llvm.x86.avx2.permps")
    beyond = builder.icmp_signed(">=", index, ir.Constant(ints, [LANES] * LANES))
    picked = [builder.call(function, [half, index]) for half in (high, low)]
    return builder.select(beyond, *picked)


def _declared(module: Any, kind: Any, name: str) -> Any:
    found = module.globals.get(name)
    return found if found is not None else ir.Function(module, kind, name)


@intrinsic
def _picked(
    context: Any, line: Any, index: Any, weight: Any, stride: Any, taps: Any, out: Any
) -> Any:
    """LANES outputs from 2 * LANES floats at address `line`; taps lie `stride` bytes apart."""
    if not isinstance(taps, types.IntegerLiteral):
        raise numba.errors.RequireLiteralValue("taps must be a literal")
    count = taps.literal_value

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        if not LANES:  # Compiled all the same, but `near` then forms no groups to call it with.
            return _context.get_dummy_value()
        line_at, index_at, weight_at, step, _, out_at = args
        floats, ints = ir.VectorType(_F32, LANES), ir.VectorType(_I32, LANES)

        def load(address: Any, kind: Any) -> Any:
            vector = builder.load(builder.inttoptr(address, kind.as_pointer()))
            vector.align = 4
            return vector

        def after(address: Any, amount: Any) -> Any:
            return builder.add(address, amount)

        low = load(line_at, floats)
        high = load(after(line_at, ir.Constant(_PTR, 4 * LANES)), floats)
        total = None
        for _ in range(count):
            value = _permute(builder, low, high, load(index_at, ints))
            term = builder.fmul(value, load(weight_at, floats), flags=("contract",))
            total = term if total is None else builder.fadd(total, term, flags=("contract",))
            index_at, weight_at = after(index_at, step), after(weight_at, step)
        stored = builder.store(total, builder.inttoptr(out_at, floats.as_pointer()))
        stored.align = 4
        return _context.get_dummy_value()

    address = types.intp
    return types.void(address, address, address, address, taps, address), generate


@_jit
def aligned(n):  # type: ignore[no-untyped-def]
    """Uninitialised float32 ``[n]`` that starts on a cache line of 64 bytes."""
    memory = np.empty(n + 16, np.float32)
    start = (-memory.ctypes.data % 64) // 4
    return memory[start : start + n]


@_jit
def near(index):  # type: ignore[no-untyped-def]
    """Taps relative to a base per group of LANES outputs, for `gather_near`.

    Args:
        index: int64 ``[K, w]``.

    Returns:
        base int64 ``[w // LANES]`` (empty where the taps are too far apart, or K is 1) and relative
        index int32 ``[K, w]``.
    """
    K, w = index.shape
    relative = aligned(K * w).view(np.int32).reshape(K, w)
    groups = w // LANES if LANES and K > 1 else 0
    base = np.zeros(groups, np.int64)
    for g in range(groups):
        taps = index[:, g * LANES : (g + 1) * LANES]
        base[g] = taps.min()
        if taps.max() - base[g] >= 2 * LANES:
            return base[:0], relative
        for k in range(K):
            for x in range(LANES):
                relative[k, g * LANES + x] = taps[k, x] - base[g]
    return base, relative


@_jit
def gather(line, index, weight, row, start):  # type: ignore[no-untyped-def]
    """``row[x] = sum_k weight[k, x] * line[index[k, x]]`` from output `start` on, K of 1, 2 or 4.

    `index` is uint32, which spares the loop the handling of negative indices.
    """
    K, w = index.shape
    i0, w0 = index[0], weight[0]
    if K == 1:
        for x in range(start, w):
            row[x] = line[i0[x]]
        return
    i1, w1 = index[1], weight[1]
    if K == 2:
        for x in range(start, w):
            row[x] = w0[x] * line[i0[x]] + w1[x] * line[i1[x]]
        return
    i2, i3, w2, w3 = index[2], index[3], weight[2], weight[3]
    for x in range(start, w):
        inner = w1[x] * line[i1[x]] + w2[x] * line[i2[x]]
        row[x] = w0[x] * line[i0[x]] + inner + w3[x] * line[i3[x]]


@_jit
def gather_near(line, base, relative, weight, K, w, row):  # type: ignore[no-untyped-def]
    """As `gather`, for whole groups of LANES outputs; everything but `base` is an address.

    Addresses, because taking one from an array costs as much as a row. `line` must be readable for
    2 * LANES floats from each base on.
    """
    step, stride = 4 * LANES, 4 * w
    if K == 2:
        for g in range(base.shape[0]):
            at = g * step
            _picked(line + 4 * base[g], relative + at, weight + at, stride, 2, row + at)
    elif K == 4:
        for g in range(base.shape[0]):
            at = g * step
            _picked(line + 4 * base[g], relative + at, weight + at, stride, 4, row + at)


@_jit
def copy(line, flip, row):  # type: ignore[no-untyped-def]
    """A plain crop's row, reversed where `flip`."""
    w = row.shape[0]
    if flip:
        for x in range(w):
            row[x] = line[w - 1 - x]
    else:
        for x in range(w):
            row[x] = line[x]


_WIDE = 16


@intrinsic
def _weighted_group(
    context: Any,
    source: Any,
    stride: Any,
    weight: Any,
    count: Any,
    gain: Any,
    bias: Any,
    out: Any,
    vectors: Any,
) -> Any:
    """`vectors` times 16 outputs of `weighted`."""
    if not isinstance(vectors, types.IntegerLiteral):
        raise numba.errors.RequireLiteralValue("vectors must be a literal")
    wide, steps = ir.VectorType(_F32, _WIDE), range(vectors.literal_value)

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        source_at, step, weight_at, n, scale, shift, out_at, _ = args

        def splat(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(wide, ir.Undefined), value, _I32(0))
            lanes = ir.Constant(ir.VectorType(_I32, _WIDE), [0] * _WIDE)
            return builder.shuffle_vector(one, one, lanes)

        def pointer(at: Any, i: int, kind: Any) -> Any:
            return builder.inttoptr(builder.add(at, _PTR(4 * _WIDE * i)), kind.as_pointer())

        def add_product(total: Any, a: Any, b: Any) -> Any:
            product = builder.fmul(a, b, flags=("contract",))
            return builder.fadd(total, product, flags=("contract",))

        totals = [
            cgutils.alloca_once_value(builder, ir.Constant(wide, [0.0] * _WIDE)) for _ in steps
        ]
        at = cgutils.alloca_once_value(builder, source_at)
        with cgutils.for_range(builder, n) as loop:
            here = builder.load(at)
            w = builder.load(
                builder.inttoptr(
                    builder.add(weight_at, builder.mul(loop.index, _PTR(4))), _F32.as_pointer()
                )
            )
            for i, total in zip(steps, totals, strict=True):
                pixels = builder.load(pointer(here, i, wide))
                pixels.align = 4
                builder.store(add_product(builder.load(total), pixels, splat(w)), total)
            builder.store(builder.add(here, step), at)
        for i, total in zip(steps, totals, strict=True):
            value = add_product(splat(shift), builder.load(total), splat(scale))
            builder.store(value, pointer(out_at, i, wide)).align = 4
        return _context.get_dummy_value()

    address, number = types.intp, types.float32
    signature = types.void(address, address, address, address, number, number, address, vectors)
    return signature, generate


@_jit
def weighted(source, stride, weight, count, gain, bias, out, w):  # type: ignore[no-untyped-def]
    """``out[x] = gain * sum_k weight[k] * source_k[x] + bias`` for whole groups of 16 outputs.

    Everything is an address: `source_k` lies at ``source + k * stride`` bytes. Both the vertical
    pass (rows apart) and the horizontal blur (floats apart) are such sums.

    Returns:
        How many outputs of `w` were done.
    """
    x = 0
    while x + 2 * _WIDE <= w:
        at = 4 * x
        _weighted_group(source + at, stride, weight, count, gain, bias, out + at, 2)
        x += 2 * _WIDE
    if x + _WIDE <= w:
        at = 4 * x
        _weighted_group(source + at, stride, weight, count, gain, bias, out + at, 1)
        x += _WIDE
    return x


_TILE = 8


@intrinsic
def _transpose_tile(
    context: Any, source: Any, source_stride: Any, target: Any, target_stride: Any
) -> Any:
    """Transpose 8 x 8 floats between addresses; strides in bytes.

    Three rounds of exchanging off-diagonal blocks of 1, 2 and 4 (Eklundh, IEEE TC 21, 1972).
    """

    def generate(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        source_at, source_step, target_at, target_step = args
        floats = ir.VectorType(_F32, _TILE)

        def rows(at: Any, step: Any) -> Any:
            for _ in range(_TILE):
                yield builder.inttoptr(at, floats.as_pointer())
                at = builder.add(at, step)

        vectors = []
        for row in rows(source_at, source_step):
            vectors.append(builder.load(row))
            vectors[-1].align = 4
        for block in (1, 2, 4):
            upper = [j if not j & block else _TILE + j - block for j in range(_TILE)]
            lower = [j + block if not j & block else _TILE + j for j in range(_TILE)]
            for i in range(_TILE):
                if not i & block:
                    a, b = vectors[i], vectors[i + block]
                    for k, lanes in ((i, upper), (i + block, lower)):
                        mask = ir.Constant(ir.VectorType(_I32, _TILE), lanes)
                        vectors[k] = builder.shuffle_vector(a, b, mask)
        for row, vector in zip(rows(target_at, target_step), vectors, strict=True):
            builder.store(vector, row).align = 4
        return _context.get_dummy_value()

    address = types.intp
    return types.void(address, address, address, address), generate


@_jit
def transposed(plane):  # type: ignore[no-untyped-def]
    """The transpose of a float32 plane, tile by tile."""
    n, m = plane.shape
    out = aligned(n * m).reshape(m, n)
    plane_at, out_at = plane.ctypes.data, out.ctypes.data
    tiled_n, tiled_m = n // _TILE * _TILE, m // _TILE * _TILE
    for y in range(0, tiled_n, _TILE):
        for x in range(0, tiled_m, _TILE):
            _transpose_tile(plane_at + 4 * (y * m + x), 4 * m, out_at + 4 * (x * n + y), 4 * n)
    for y in range(n):
        for x in range(tiled_m if y < tiled_n else 0, m):
            out[x, y] = plane[y, x]
    return out
