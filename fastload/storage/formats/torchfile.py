"""What `torch.save` writes, read without unpickling: which tensors there are, and where their
bytes lie.

A file is a zip of ``NAME/data.pkl``, a pickle that `torch_pickle` reads; ``NAME/byteorder``; and
``NAME/data/KEY``, the raw bytes of a storage, stored as they are and aligned. Source:
`torch.serialization` (versions 1.6 to 2.15).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.checksum import CRC_FAULT, crc32
from fastload.storage.formats.pickle_reader import MOST_BYTES
from fastload.storage.formats.tensors import (
    Storage,
    Tensor,
    disk_dtype,
    place,
    shown_dtype,
    strided,
)
from fastload.storage.formats.torch_pickle import read_tree
from fastload.storage.formats.zip import STORED, Directory, Entry, Read, directory

_LEGACY = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
"""How files begin that torch before 1.6 writes, and later ones if asked to: a pickled number."""


@dataclass(frozen=True)
class TorchFile:
    """What a file holds.

    Attributes:
        tree: as it was saved, with a `Tensor` in the place of each.
        storages: where the bytes of each lie in the file, by key.
        big: whether numbers lie with their highest byte first.
        summed: whether the zip has checksums; torch can leave them out.
    """

    tree: Any
    storages: Mapping[str, Entry]
    big: bool
    summed: bool

    def place_of(self, tensor: Tensor) -> int:
        """Where the first value of a tensor lies in the file."""
        return self.storages[tensor.storage.key].offset + tensor.offset * tensor.itemsize

    def is_whole(self, tensor: Tensor) -> bool:
        """Whether the bytes of a tensor are all of a member, so that its checksum tells of them."""
        entry = self.storages[tensor.storage.key]
        return self.summed and tensor.offset == 0 and tensor.span == entry.stored

    def array(self, tensor: Tensor, read: Read) -> NDArray[Any]:
        """All values of a tensor, by reading its part of the file; C-contiguous."""
        data = np.frombuffer(read(self.place_of(tensor), tensor.span), np.uint8)
        dtype = disk_dtype(tensor.dtype, self.big)
        out = np.empty(tensor.shape, shown_dtype(tensor.dtype))
        if tensor.span:
            place(strided(data, dtype, tensor.shape, tensor.stride), tensor.dtype, out)
        return out


def torch_file(read: Read, size: int) -> TorchFile:
    """Read what a file of so many bytes holds; of its storages nothing is read.

    Raises:
        ValueError: says what is damaged, not supported, or refused.
    """
    try:
        found = directory(read, size)
    except ValueError as error:
        raise ValueError(_foreign(read(0, min(size, len(_LEGACY)))) or str(error)) from error
    root = _root(found)
    pickled, summed = _pickle(read, found.entries[f"{root}data.pkl"])
    tree, shared = read_tree(pickled)
    storages = {storage.key: _entry(found, root, storage) for storage in shared}
    return TorchFile(tree, storages, _is_big(read, found.entries.get(f"{root}byteorder")), summed)


def _foreign(head: bytes) -> str | None:
    if head == _LEGACY:
        return (
            "is of torch's format before version 1.6, which is one pickle and no zip: not "
            "supported; torch.save(torch.load(...)) writes it anew"
        )
    return None if head.startswith(b"PK") else "is no zip, as torch.save writes one since 1.6"


def _root(found: Directory) -> str:
    """The folder in the zip that all is in."""
    roots = [n.removesuffix("data.pkl") for n in found.entries if n.endswith("/data.pkl")]
    roots = [root for root in roots if root.count("/") == 1]
    if len(roots) != 1:
        raise ValueError("is no file of torch.save: expected one NAME/data.pkl in the zip")
    if f"{roots[0]}constants.pkl" in found.entries:
        raise ValueError("holds a program of TorchScript, which is not read")
    if found.repeats:
        raise ValueError("a name stands more than once in the zip")
    return roots[0]


def _pickle(read: Read, entry: Entry) -> tuple[bytes, bool]:
    """The pickle, and whether the zip has checksums."""
    data = _small(read, entry, "data.pkl", MOST_BYTES)
    summed = entry.crc != 0  # torch writes 0 for all, where it is told to leave them out
    if summed and crc32(data) != entry.crc:
        raise ValueError(f"data.pkl: {CRC_FAULT}")
    return data, summed


def _is_big(read: Read, entry: Entry | None) -> bool:
    """Before torch 2.1 files do not say it; they are then taken to be little-endian, as torch
    does."""
    if entry is None:
        return False
    found = _small(read, entry, "byteorder", 16)
    if found not in (b"little", b"big"):
        raise ValueError(f"byteorder must be 'little' or 'big', got {found!r}")
    return found == b"big"


def _small(read: Read, entry: Entry, name: str, most: int) -> bytes:
    if entry.method != STORED or entry.size != entry.stored or entry.size > most:
        raise ValueError(
            f"{name} of {entry.size} bytes by zip method {entry.method}, expected at most {most} "
            "bytes, stored as they are"
        )
    return read(entry.offset, entry.stored)


def _entry(found: Directory, root: str, storage: Storage) -> Entry:
    entry = found.entries.get(f"{root}data/{storage.key}")
    if entry is None:
        raise ValueError(f"there is no storage data/{ascii(storage.key)[1:-1]} in the zip")
    if entry.method != STORED or not entry.stored == entry.size == storage.size:
        raise ValueError(
            f"storage data/{storage.key} has {entry.stored} bytes by zip method {entry.method}, "
            f"expected {storage.size}, stored as they are"
        )
    return entry
