"""Elementary functions of IEEE 754's own operations alone.

What a C library gives for a logarithm or a cosine differs in the last bit from machine to machine,
and a candidate that is near another would be kept on one and left out on the next. Sums, products,
quotients and square roots are the same everywhere. All are good to about 1e-15; angles are degrees,
so that quarter turns are taken off exactly. For use in compiled code.
"""

import math

import numba

LN2, SQRT_HALF, DEGREE = math.log(2.0), math.sqrt(0.5), math.pi / 180


@numba.njit
def log(x):  # type: ignore[no-untyped-def]
    """Natural logarithm of x in (0, 1], by the series of atanh."""
    halvings = 0
    while x < SQRT_HALF:
        x *= 2.0
        halvings += 1
    z = (x - 1.0) / (x + 1.0)
    total = 0.0
    for k in range(23, 0, -2):
        total = total * z * z + 1.0 / k
    return 2.0 * z * total - halvings * LN2


@numba.njit
def sin_cos(angle):  # type: ignore[no-untyped-def]
    """Sine and cosine of an angle in degrees, by Taylor's series on -45 to 45."""
    quarter = math.floor(angle / 90.0 + 0.5)
    a = (angle - 90.0 * quarter) * DEGREE
    s, c = 1.0, 1.0
    for k in range(9, 0, -1):
        s = 1.0 - a * a / ((2.0 * k) * (2.0 * k + 1.0)) * s
        c = 1.0 - a * a / ((2.0 * k - 1.0) * (2.0 * k)) * c
    s *= a
    turn = int(quarter) % 4
    if turn == 1:
        return c, -s
    if turn == 2:
        return -s, -c
    if turn == 3:
        return -c, s
    return s, c


@numba.njit
def angle_of(y, x):  # type: ignore[no-untyped-def]
    """Angle of the point (x, y) in degrees, -180 to 180: atan2, by halving thrice and a series."""
    high, low = max(abs(x), abs(y)), min(abs(x), abs(y))
    t = low / high if high > 0.0 else 0.0
    for _ in range(3):
        t /= 1.0 + math.sqrt(1.0 + t * t)
    total = 0.0
    for k in range(17, 0, -2):
        total = 1.0 / k - total * t * t
    angle = 8.0 * t * total / DEGREE
    if abs(y) > abs(x):
        angle = 90.0 - angle
    if x < 0.0:
        angle = 180.0 - angle
    return -angle if y < 0.0 else angle


@numba.njit
def normals(u, v):  # type: ignore[no-untyped-def]
    """Two independent standard normal numbers of two uniform ones in (0, 1).

    Source: Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    radius = math.sqrt(-2.0 * log(u))
    s, c = sin_cos(360.0 * v)
    return radius * c, radius * s
