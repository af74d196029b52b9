"""Random streams and random fields of the made world.

All randomness is a function of (seed, split, location, purpose, step), so that no draw depends on
another draw, on which modalities are made, or on which worker makes them.
"""

import zlib
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


class Purpose(IntEnum):
    """What a stream is for; streams of different purpose never share bits."""

    PLACE = 0
    LAND = 1
    DATE = 2
    SKY = 3
    SENSOR = 4
    RADAR = 5


def stream(
    seed: int, split: str, location: int, purpose: Purpose, step: int = 0
) -> np.random.Generator:
    """Return the generator of one purpose: Philox keyed by (seed, location).

    The split, the purpose and the step stand in the upper counter words, the lowest word counts.
    """
    counter = [0, step, int(purpose), zlib.crc32(split.encode())]
    return np.random.Generator(np.random.Philox(key=[seed, location], counter=counter))


def _double(x: F32, axis: int, length: int) -> F32:
    """Twice as fine along an axis by the quadratic spline's 3:1 rule, cut to `length`."""
    x = np.moveaxis(x, axis, -1)
    middle = x[..., 1:-1] * np.float32(0.75)
    shape = (*middle.shape[:-1], middle.shape[-1], 2)
    out = np.empty(shape, np.float32)
    np.add(middle, x[..., :-2] * np.float32(0.25), out=out[..., 0])
    np.add(middle, x[..., 2:] * np.float32(0.25), out=out[..., 1])
    return np.moveaxis(out.reshape(*shape[:-2], -1)[..., :length], -1, axis)


def fractal(
    rng: np.random.Generator,
    count: int,
    size: int,
    coarsest: float,
    persistence: float,
    finest: float = 1.0,
) -> F32:
    """Draw smooth random fields that are a sum of octaves.

    Args:
        rng: where the bits come from.
        count: number of independent fields.
        size: height and width in pixels.
        coarsest: feature size of the first octave in pixels; each further octave halves it.
        persistence: amplitude of an octave relative to the one before.
        finest: octaves below this feature size in pixels are left out.

    Returns:
        ``[count, size, size]`` float32, each field of mean 0 and standard deviation 1.
    """
    levels = max(0, round(np.log2(coarsest)))
    lengths = [size]
    for _ in range(levels):
        lengths.append(-(-lengths[-1] // 2) + 2)
    lengths.reverse()
    field = rng.standard_normal((count, lengths[0], lengths[0]), dtype=np.float32)
    for level, length in enumerate(lengths[1:], 1):
        field = _double(_double(field, 2, length), 1, length)
        if 2 ** (levels - level) >= finest:
            octave = rng.standard_normal((count, length, length), dtype=np.float32)
            octave *= np.float32(persistence**level)
            field = field + octave
    field -= field.mean((1, 2), keepdims=True)
    field /= field.std((1, 2), keepdims=True) + np.float32(1e-6)
    return np.ascontiguousarray(field)


def sensor_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> F32:
    """Draw white noise of mean 0 and standard deviation 1 (triangular: fast, and bounded)."""
    pair = rng.integers(-32768, 32768, (2, *shape), dtype=np.int16)
    total: F32 = np.add(pair[0], pair[1], dtype=np.float32)
    total += np.float32(1.0)  # each half has mean -1/2
    total *= np.float32(np.sqrt(6.0) / 65536.0)  # two uniforms of variance 65536^2 / 12
    return total


def blur(x: F32, side: float) -> F32:
    """Blur ``[H, W]`` by (side, 1 - 2 side, side) along both axes, edges repeated."""
    a, b = np.float32(side), np.float32(1 - 2 * side)
    for _ in range(2):
        y = x * b
        pad = x * a
        y[1:] += pad[:-1]
        y[:-1] += pad[1:]
        y[0] += pad[0]
        y[-1] += pad[-1]
        x = y.T
    return np.ascontiguousarray(x)


def block_mean(x: F32, step: int) -> F32:
    """Mean of ``[H, W]`` over blocks of `step` pixels; a cut-off last block repeats its edge."""
    if step == 1:
        return x
    pad = [(0, -n % step) for n in x.shape]
    if any(p for _, p in pad):
        x = np.pad(x, pad, mode="edge")
    rows = x[::step].copy()
    for k in range(1, step):
        rows += x[k::step]
    out = rows[:, ::step].copy()
    for k in range(1, step):
        out += rows[:, k::step]
    out *= np.float32(1 / step**2)
    return out


def repeat_to(x: NDArray[np.int16], step: int, size: int) -> NDArray[np.int16]:
    """Repeat each pixel of ``[h, w]`` `step` times along both axes, cut to ``[size, size]``."""
    if step == 1:
        return x
    wide: NDArray[np.int16] = x.repeat(step, 0)[:size].repeat(step, 1)[:, :size]
    return wide
