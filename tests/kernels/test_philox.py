"""Philox4x32-10 against the published vectors, in NumPy and in Numba."""

import numba
import numpy as np
import pytest

from fastload_kernels.philox import choice, philox, philox_numba, uniform, words
from tests.kernels.cuda.devices import PLACES

# Random123's kat_vectors for philox4x32-10: counter, key, result.
VECTORS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def unhex(text):
    return [np.uint64(int(word, 16)) for word in text.split()]


@numba.njit
def in_numba(c, k):
    return philox_numba(c[0], c[1], c[2], c[3], k[0], k[1])


@pytest.mark.parametrize(("counter", "key", "expected"), VECTORS)
@pytest.mark.parametrize("backend", ["numpy", "numpy arrays", "numba", *PLACES])
def test_published_vectors(backend, counter, key, expected):
    c, k = unhex(counter), unhex(key)
    if backend == "numba":
        got = in_numba(np.array(c), np.array(k))
    elif backend == "numpy":
        got = philox(*c, *k)
    elif backend == "numpy arrays":
        got = [x[1] for x in philox(*(np.repeat(x, 3) for x in c), *k)]
    else:
        got = on_device(PLACES[backend](), np.array([[*c, *k]]))[0]
    assert list(got) == unhex(expected)


def on_device(place, counters):
    """Four words at each of the counters and keys ``[N, 6]``."""
    N = len(counters)
    given, out = place.upload(counters.astype(np.uint32)), place.upload(np.zeros(4 * N, "u4"))
    place.device.launch("draw.cu", "words", N, 1, [given, out, N])
    return place.download(out, np.uint32).reshape(N, 4)


@pytest.mark.parametrize("backend", ["numba", *PLACES])
def test_backends_agree_on_random_counters(backend):
    counters = np.random.default_rng(0).integers(0, 2**32, (500, 6)).astype(np.uint64)
    expected = np.stack(philox(*counters.T), axis=1)
    if backend == "numba":
        got = [in_numba(c[:4], c[4:]) for c in counters]
    else:
        got = on_device(PLACES[backend](), counters)
    np.testing.assert_array_equal(got, expected)


def test_words_are_blocks_of_the_counter():
    seed, epoch, view = 0x0123456789ABCDEF, 7, 3
    got = words(seed, epoch, [11, 12], view, 2, 9)
    key = (np.uint64(0x89ABCDEF), np.uint64(0x01234567))
    for row, sample in zip(got, (11, 12), strict=True):
        blocks = [
            philox(np.uint64(b), np.uint64(view), np.uint64(sample), np.uint64(epoch), *key)
            for b in range(3)
        ]
        assert row.tolist() == [int(w) for block in blocks for w in block][2:11]


def test_draws_do_not_collide_when_words_are_swapped():
    assert words(0, 1, [0], 0, 0, 4).tolist() != words(1, 0, [0], 0, 0, 4).tolist()
    assert words(0, 1, [2], 0, 0, 4).tolist() != words(0, 2, [1], 0, 0, 4).tolist()
    assert words(0, 0, [1], 2, 0, 4).tolist() != words(0, 0, [2], 1, 0, 4).tolist()


@pytest.mark.parametrize(("seed", "epoch", "sample"), [(-1, 0, 0), (0, 2**32, 0), (0, 0, -1)])
def test_counters_that_do_not_fit_are_refused(seed, epoch, sample):
    with pytest.raises(ValueError, match="must be in"):
        words(seed, epoch, [sample], 0, 0, 4)


def test_uniform_and_choice_cover_their_range_evenly():
    w = words(5, 0, np.arange(4000), 0, 0, 4).ravel()
    u = uniform(w)
    assert u.min() > 0
    assert u.max() < 1
    assert abs(u.mean() - 0.5) < 0.01
    counts = np.bincount(choice(w, 5), minlength=5)
    assert len(counts) == 5
    assert abs(counts / len(w) - 0.2).max() < 0.015
    assert choice(np.array([2**32 - 1], np.uint64), 7)[0] == 6
