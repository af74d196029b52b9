"""Weights and images that both sides make alike, so that none need be kept.

Runs under Python 3.8 too, where the originals do. Every array is a function of its name.
"""

from __future__ import annotations

import math
import zlib

import numpy as np


def uniform(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw float64 in [-1, 1), by PCG64's raw words, which no version of NumPy changes."""
    words = np.random.PCG64(zlib.crc32(name.encode())).random_raw(math.prod(shape))
    return ((words >> np.uint64(11)) * 2.0**-52 - 1.0).reshape(shape)


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a parameter by its name in the original.

    Matrices and kernels have variance 1 / inputs, so that what passes through them stays of its
    size; scales of norms lie about 1, biases and layer scales about 0; weight norm's lengths are 1.
    """
    if name.endswith("weight_g"):
        return np.ones(shape)
    if len(shape) == 1:
        return name.endswith(".weight") + 0.1 * uniform(name, shape)
    return uniform(name, shape) * math.sqrt(3 / math.prod(shape[1:]))


def queue(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Draw keys ``[..., D, K]``, unit columns."""
    drawn = uniform(name, shape)
    return drawn / np.linalg.norm(drawn, axis=-2, keepdims=True)


def images(step: int, view: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw one view ``[N, C, h, w]`` in [0, 1): a colour a sample, blotches of 8 pixels, noise."""
    n, c, h, w = shape
    name = f"step {step} view {view}"
    colour = uniform(name + " colour", (n, c, 1, 1))
    blotches = uniform(name + " blotches", (n, c, h // 8, w // 8))
    blotches = blotches.repeat(8, axis=2).repeat(8, axis=3)
    return 0.5 + (colour + blotches + uniform(name + " noise", shape)) / 6


def noise(step: int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw a number per patch ``[N, L]``, by whose order patches are hidden."""
    return uniform(f"step {step} mask", shape)


def hidden(step: int, shape: tuple[int, ...], count: int) -> np.ndarray:
    """Tell which patches ``[N, L]`` are hidden, `count` or one less of each sample's."""
    rank = noise(step, shape).argsort(axis=1).argsort(axis=1)
    return rank < count - np.arange(shape[0])[:, None] % 2
