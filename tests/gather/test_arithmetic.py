"""The functions of IEEE operations alone beside those of NumPy."""

import numba
import numpy as np

from fastload.gather.plan.arithmetic import angle_of, log, sin_cos


@numba.njit
def _each(u, angle, y, x, out):
    for n in range(len(u)):
        out[n, 0] = log(u[n])
        out[n, 1], out[n, 2] = sin_cos(angle[n])
        out[n, 3] = angle_of(y[n], x[n])


def test_they_are_those_of_numpy() -> None:
    rng = np.random.default_rng(0)
    edges = np.array([0.0, 45, 90, 135, 180, 225, 270, 315, 360, -45, -90, -180])
    angle = np.concatenate([edges, rng.uniform(-400, 400, 2000)])
    N = len(angle)
    u = np.concatenate([[1.0, 0.5, 2.0**-33, np.sqrt(0.5)], rng.uniform(0, 1, N - 4)])
    x, y = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    x[:4], y[:4] = (1, 0, -1, 0), (0, 1, 0, -1)
    out = np.empty((N, 4))
    _each(u, angle, y, x, out)
    np.testing.assert_allclose(out[:, 0], np.log(u), rtol=2e-15, atol=1e-16)
    np.testing.assert_allclose(out[:, 1], np.sin(np.radians(angle)), atol=5e-15)
    np.testing.assert_allclose(out[:, 2], np.cos(np.radians(angle)), atol=5e-15)
    np.testing.assert_allclose(out[:, 3], np.degrees(np.arctan2(y, x)), atol=1e-13)
    assert out[1, 1] == np.sqrt(0.5) or abs(out[1, 1] - np.sqrt(0.5)) < 2e-16
    assert (out[2, 1], out[2, 2]) == (1, 0)  # quarter turns are exact
