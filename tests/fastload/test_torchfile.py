"""Files of `torch.save`: what they hold is what torch loads, and damaged ones are refused."""

import struct
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
import pytest
import torch

from fastload.storage.formats.tensors import Tensor
from fastload.storage.formats.torchfile import TorchFile, torch_file
from tests.fastload.cellmaker import big_endian, numpy, pth, repacked, without_checksums

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.int16,
          torch.int32, torch.int64, torch.uint8, torch.uint16, torch.uint32, torch.uint64,
          torch.bool, torch.complex64, torch.complex128)  # fmt: skip


class Reader:
    """Bytes of a file, which counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.asked = data, 0

    def __call__(self, offset: int, size: int) -> bytes:
        if not 0 <= offset <= offset + size <= len(self.data):
            raise ValueError(f"{size} bytes at {offset} reach beyond the file")
        self.asked += size
        return self.data[offset : offset + size]


def opened(data: bytes) -> tuple[TorchFile, Reader]:
    read = Reader(data)
    return torch_file(read, len(data)), read


def some(dtype: torch.dtype, shape: tuple[int, ...] = (3, 4, 5)) -> torch.Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape).to(dtype)


def check(data: bytes) -> None:
    """A file of one tensor against torch."""
    file, read = opened(data)
    expected = numpy(torch.load(BytesIO(data), weights_only=True))
    found = file.array(file.tree, read)
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype(dtype: torch.dtype) -> None:
    check(pth(some(dtype)))


@pytest.mark.parametrize("dtype", [d for d in DTYPES if not d.is_complex], ids=str)
def test_every_dtype_with_its_highest_byte_first(dtype: torch.dtype) -> None:
    """Unsigned numbers of several bytes have an untyped storage, whose bytes torch 2.15 leaves in
    the order of the machine that wrote them; here they are what was saved."""
    data = big_endian(some(dtype))
    file, read = opened(data)
    assert file.big
    assert file.array(file.tree, read).tobytes() == numpy(some(dtype)).tobytes()
    if dtype not in (torch.uint16, torch.uint32, torch.uint64):
        check(data)


VIEWS = {
    "transposed": some(torch.int16).permute(2, 0, 1),
    "sliced": some(torch.int16)[1:, ::2, 1:4],
    "expanded": some(torch.int16, (4,)).expand(3, 4),
    "one value many times": torch.ones(1).expand(7, 8),
    "a number": torch.tensor(5.0),
    "empty": torch.zeros(3, 0, 2),
    "beyond the beginning": some(torch.float32)[2, 3, 4:],
    "wants a gradient": some(torch.float32).requires_grad_(),
    "a parameter": torch.nn.Parameter(some(torch.float32)),
    "overlapping windows": some(torch.int32, (9,)).unfold(0, 4, 2),
}


@pytest.mark.parametrize("kind", VIEWS)
def test_every_view(kind: str) -> None:
    check(pth(VIEWS[kind]))


def test_containers_and_shared_storages() -> None:
    """Each tensor of a tree, whatever holds it; storages that several share lie there once."""
    base = some(torch.float32)
    saved = {"a": [base, base[1]], "b": ({"c": base.T if base.ndim < 3 else base.mT},), "n": 3}
    file, read = opened(pth(saved))
    assert len(file.storages) == 1
    assert (file.array(file.tree["a"][1], read) == base[1].numpy()).all()
    assert (file.array(file.tree["b"][0]["c"], read) == base.mT.numpy()).all()
    assert file.tree["n"] == 3


def test_pixels_are_not_read_to_know_what_there_is() -> None:
    data = pth(some(torch.float32, (100, 1000)))
    _, read = opened(data)
    assert read.asked < 2000 < len(data)


def test_checksums_that_were_left_out_are_not_compared() -> None:
    data = without_checksums(some(torch.int16))
    file, _ = opened(data)
    assert not file.summed
    assert not file.is_whole(file.tree)
    check(data)
    assert opened(pth(some(torch.int16)))[0].is_whole(opened(pth(some(torch.int16)))[0].tree)


def changed(name: str, value: Any) -> bytes:
    """A sound zip of a tensor with one member changed."""
    data = pth(some(torch.int16))
    return repacked(data, lambda n, old: value if n.endswith(name) else old)


def with_twin() -> bytes:
    data = BytesIO(pth(some(torch.int16)))
    with zipfile.ZipFile(data, "a") as zipped, pytest.warns(UserWarning, match="Duplicate"):
        zipped.writestr("archive/data/0", bytes(120))
    return data.getvalue()


def with_member(name: str) -> bytes:
    data = BytesIO(pth(some(torch.int16)))
    with zipfile.ZipFile(data, "a") as zipped:
        zipped.writestr(name, b"")
    return data.getvalue()


def flipped(find: bytes) -> bytes:
    data = bytearray(pth(some(torch.int16)))
    data[data.index(find)] ^= 1
    return bytes(data)


REFUSED = {
    "before version 1.6": lambda: pth(torch.zeros(3), _use_new_zipfile_serialization=False),
    "is no zip, as torch.save writes one": lambda: b"hello" * 100,
    "is no zip": lambda: b"",
    "no file of torch.save": lambda: repacked(pth(torch.zeros(3)), lambda n, d: None),
    "would use torch.nn.modules.linear.Linear": lambda: pth(torch.nn.Linear(2, 2)),
    "would use numpy": lambda: pth(np.zeros(3)),
    "further properties": lambda: pth(torch.zeros(3, dtype=torch.complex64).conj()),
    "would use torch._utils._rebuild_sparse_tensor": lambda: pth(torch.eye(3).to_sparse()),
    "would use torch.float8_e5m2": lambda: pth(torch.zeros(3).to(torch.float8_e5m2)),
    "by zip method 8": lambda: repacked(pth(some(torch.int16)), lambda n, d: d, 8),
    "no storage data/0": lambda: changed("data/0", None),
    "has 119 bytes .* expected 120": lambda: changed("data/0", bytes(119)),
    "has 121 bytes .* expected 120": lambda: changed("data/0", bytes(121)),
    "expected one NAME/data.pkl": lambda: changed("data.pkl", None),
    "one NAME/data.pkl in the zip": lambda: with_member("b/data.pkl"),
    "a program of TorchScript": lambda: with_member("archive/constants.pkl"),
    "'little' or 'big', got b'middle'": lambda: changed("byteorder", b"middle"),
    "byteorder of 99 bytes": lambda: changed("byteorder", b"l" * 99),
    "stands more than once": with_twin,
    "data.pkl: .*CRC-32": lambda: flipped(b"ShortStorage"),
}
"""What is said of a file, and how it is made."""


@pytest.mark.parametrize("expected", REFUSED)
def test_what_cannot_be_read_is_refused(expected: str) -> None:
    data = REFUSED[expected]()
    with pytest.raises(ValueError, match=expected):
        opened(data)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_torch_script_is_refused() -> None:
    file = BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    with pytest.raises(ValueError, match="TorchScript"):
        opened(file.getvalue())


def test_files_without_an_order_of_bytes_are_little_endian() -> None:
    """As torch before 2.1 wrote them."""
    check(changed("byteorder", None))


def test_a_file_that_is_cut_off_anywhere_is_refused() -> None:
    data = pth(some(torch.int16))
    for size in range(len(data)):
        with pytest.raises(ValueError, match=r"."):
            opened(data[:size])


def test_a_directory_that_points_elsewhere_is_refused() -> None:
    """A storage's header outside of the zip."""
    data = bytearray(pth(some(torch.int16)))
    entry = data.rindex(b"archive/data/0") - 46
    struct.pack_into("<L", data, entry + 42, len(data) + 100)
    with pytest.raises(ValueError, match="does not fit the zip"):
        opened(bytes(data))


def test_a_tensor_knows_its_bounds() -> None:
    """Made by hand, too."""
    file, _ = opened(pth(some(torch.int16)))
    storage = file.tree.storage
    Tensor("int16", (60,), (1,), 0, storage)
    for shape, stride, offset in (((61,), (1,), 0), ((60,), (1,), 1), ((2,), (60,), 0)):
        with pytest.raises(ValueError, match="beyond its storage"):
            Tensor("int16", shape, stride, offset, storage)
