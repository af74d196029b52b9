import numpy as np
import pytest

from fastload_kernels.cuda.shuffle import IN_SCRATCH, MOVE, cut, place, unshuffle
from tests.kernels.cuda.host import ORDERS, HostDevice

device = HostDevice()
GUARD = 0xA5
LENGTHS = (1, 2, 3, 7, 8, 9, 15, 16, 17, 63, 64, 65, 127, 128, 1000, 1003, 4096, 70001)


def shuffled(data: np.ndarray, typesize: int, bits: bool) -> np.ndarray:
    """Blosc's filters, by their definition: byte (or bit) planes, then what is no whole element."""
    n = len(data) // typesize
    elements, tail = data[: n * typesize].reshape(n, typesize), data[n * typesize :]
    if not bits:
        return np.concatenate([elements.T.ravel(), tail])
    planes = np.unpackbits(elements, axis=1, bitorder="little").T
    return np.concatenate([np.packbits(planes, axis=1, bitorder="little").ravel(), tail])


def run(rows: np.ndarray, scratch: int = 0, device: HostDevice = device) -> None:
    unshuffle(device, rows, len(rows), cut(rows), scratch)


class Memory:
    """Bytes with a place for each row at an alignment of choice, and guards in between."""

    def __init__(self, sizes: list[int], skip: list[int]) -> None:
        self.sizes = sizes
        padded = [-(-size // 16) * 16 + 48 for size in sizes]
        self.offsets = [sum(padded[:i]) + 16 + skip[i] for i in range(len(sizes))]
        self.bytes = np.full(sum(padded) + 16, GUARD, np.uint8)
        self.bytes = self.bytes[-self.bytes.ctypes.data % 16 :]

    def __getitem__(self, i: int) -> np.ndarray:
        return self.bytes[self.offsets[i] : self.offsets[i] + self.sizes[i]]

    def addresses(self) -> list[int]:
        return [self.bytes.ctypes.data + offset for offset in self.offsets]

    def outside(self) -> np.ndarray:
        mask = np.ones(len(self.bytes), bool)
        for offset, size in zip(self.offsets, self.sizes, strict=True):
            mask[offset : offset + size] = False
        return self.bytes[mask]


def cases(typesize: int, bits: bool) -> list[int]:
    if not bits:
        return list(LENGTHS)
    return [length for length in LENGTHS if length // typesize % 8 == 0] + [8 * typesize * 9000]


@pytest.mark.parametrize("skip", ["16 bytes", "8 bytes", "any"])
@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize("typesize", [1, 2, 4, 8])
def test_undoes_the_definition(typesize: int, bits: bool, skip: str) -> None:
    rng = np.random.default_rng([typesize, bits])
    sizes = cases(typesize, bits) * (16 if skip == "any" else 1)
    rng.shuffle(sizes)
    shift = [i % 16 if skip == "any" else 8 * (skip == "8 bytes") for i in range(len(sizes))]
    source, target = Memory(sizes, shift[::-1]), Memory(sizes, shift)
    data = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    for i, content in enumerate(data):
        source[i][:] = shuffled(content, typesize, bits)
    rows = np.zeros(len(sizes), MOVE)
    rows["src"], rows["dst"], rows["size"] = source.addresses(), target.addresses(), sizes
    rows["typesize"], rows["bits"] = typesize, bits
    run(rows)
    for i, content in enumerate(data):
        np.testing.assert_array_equal(target[i], content, f"{sizes[i]} bytes, shift {shift[i]}")
    assert (target.outside() == GUARD).all()


@pytest.mark.parametrize("order", ORDERS)
def test_rows_of_every_kind_share_a_launch(order: str) -> None:
    rng = np.random.default_rng(0)
    kinds = [(t, b) for t in (1, 2, 4, 8) for b in (0, 1)] * 5
    sizes = [8 * t * int(rng.integers(1, 6000)) for t, _ in kinds]
    source, target = Memory(sizes, [0] * len(sizes)), Memory(sizes, [0] * len(sizes))
    data = [rng.integers(0, 256, size, np.uint8) for size in sizes]
    rows = np.zeros(len(sizes), MOVE)
    rows["src"], rows["dst"], rows["size"] = source.addresses(), target.addresses(), sizes
    for i, (typesize, bits) in enumerate(kinds):
        rows[i]["typesize"], rows[i]["bits"] = typesize, bits
        source[i][:] = shuffled(data[i], typesize, bool(bits))
    run(rows, device=HostDevice(order))
    for i, content in enumerate(data):
        np.testing.assert_array_equal(target[i], content, str(kinds[i]))
    assert (target.outside() == GUARD).all()


def test_offsets_in_scratch_memory() -> None:
    scratch, out = np.arange(100, dtype=np.uint8), np.zeros(100, np.uint8)
    rows = np.zeros(2, MOVE)
    rows["typesize"], rows["size"] = 1, 50
    rows["src"] = IN_SCRATCH | np.uint64(30), out.ctypes.data
    rows["dst"] = out.ctypes.data, IN_SCRATCH | np.uint64(0)
    run(rows[:1], scratch.ctypes.data)
    assert out[:50].tolist() == list(range(30, 80))
    run(rows[1:].copy(), scratch.ctypes.data)
    assert scratch.tolist() == list(range(30, 80)) + list(range(50, 100))


@pytest.mark.parametrize("order", ORDERS)
def test_place_turns_offsets_into_addresses(order: str) -> None:
    n, scratch = 700, 0x7F12_3456_7000
    addresses = np.arange(n, dtype=np.uint64) * np.uint64(1 << 37) + np.uint64(5)
    offset = np.arange(n) % 3 == 0
    marked = np.where(offset, np.arange(n, dtype=np.uint64) | IN_SCRATCH, addresses)
    sizes = np.full(n + 1, 9, np.uint64)
    place(HostDevice(order), marked, sizes, n, scratch)
    expected = np.where(offset, np.arange(n, dtype=np.uint64) + np.uint64(scratch), addresses)
    np.testing.assert_array_equal(marked, expected)
    assert not sizes[:n].any()
    assert sizes[n] == 9


def test_pieces_add_up() -> None:
    rows = np.zeros(4, MOVE)
    rows["size"] = 1, 32768, 32769, 10**6
    assert cut(rows) == 1 + 1 + 2 + 31
    assert rows["first"].tolist() == [0, 1, 2, 4]
    assert cut(rows[:0]) == 0


def test_nothing_to_do_is_no_launch() -> None:
    run(np.zeros(0, MOVE))
    place(device, 0, 0, 0, 0)
