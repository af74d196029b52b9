"""Latitudes and their sines, between which areas on a sphere are those on a sheet of paper."""

import math

import numpy as np

from fastload.gather.plan.arithmetic import angle_of, sin_cos
from fastload.gather.plan.draws import E7
from fastload_kernels.compiled import jit


@jit()
def sines_to_degrees(sine, out):  # type: ignore[no-untyped-def]
    """Latitudes of ``sine [M]`` into ``out [M]``, in 1e-7 degrees."""
    for n in range(len(sine)):
        ring = math.sqrt(max(0.0, (1.0 - sine[n]) * (1.0 + sine[n])))
        out[n] = np.int32(math.floor(angle_of(sine[n], ring) * E7 + 0.5))


@jit()
def degrees_to_sines(lat, out):  # type: ignore[no-untyped-def]
    """Sines of latitudes ``lat [M]`` in degrees into ``out [M]``."""
    for n in range(len(lat)):
        out[n] = sin_cos(lat[n])[0]
