"""Scanning one shard of grid cells: tensors in ``{cell}.{modality}.pth``, beside ``{cell}.json``.

Of each file the zip's directory and the pickle are read, never the pixels.
"""

import json
import posixpath
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.cell_text import MOST_BYTES, place_of, read_text, rest_of, text_of, told
from fastload.storage.dates import NO_TIME
from fastload.storage.errors import DataError, NotAShardError
from fastload.storage.formats.tar import members
from fastload.storage.formats.tensors import Tensor, disk_dtype, shown_dtype, span
from fastload.storage.formats.torchfile import torch_file
from fastload.storage.formats.zip import STORED
from fastload.storage.member import Member
from fastload.storage.scan import CHUNK, Sample
from fastload.storage.store import Store

PTH, JSON = ".pth", ".json"
TIME, PATCH, REST, FOREIGN = "time/", "patch/", "metadata", "foreign"
"""Further columns of the index: dates and patches of a modality, by its name; fields of the json
that are not of a modality; how many modalities of a cell were another cell's."""
PART = 255
"""In the place of a zip method: bytes that are a part of a stored member, so that its checksum
tells nothing of them."""
_HEAD = 1024
"""Bytes read from a file's start at once: the pickle lies there."""
_FAULTS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass(frozen=True)
class Stack:
    """The images of one modality of a cell, as they lie in their file.

    Attributes:
        dtype: torch's name.
        big: whether the highest byte of a number comes first.
        shape: ``(P, D, C, H, W)``, patches and dates before the image.
        stride: of each of these axes, in values.
        patches: whether the tensor has an axis of patches.
    """

    dtype: str
    big: bool
    shape: tuple[int, int, int, int, int]
    stride: tuple[int, int, int, int, int]
    patches: bool

    @property
    def disk_dtype(self) -> np.dtype[Any]:
        """How a value lies on disk."""
        return disk_dtype(self.dtype, self.big)

    @property
    def image(self) -> tuple[int, int, int]:
        """``(C, H, W)``."""
        return self.shape[2:]

    @property
    def nbytes(self) -> int:
        """From the first value to behind the last."""
        return span(self.shape, self.stride) * self.disk_dtype.itemsize


@lru_cache(1024)
def stacks_of(layout: str) -> dict[str, Stack]:
    """The stacks of a cell by modality, in the order of their chunks in the index."""
    found = json.loads(layout)["tensors"]
    return {
        name: Stack(s["dtype"], s["big"], tuple(s["shape"]), tuple(s["stride"]), s["patches"])
        for name, s in sorted(found.items())
    }


def scan_cells(store: Store, shard: str, size: int) -> list[Sample]:
    """Read what lies in one tar of so many bytes.

    Raises:
        DataError: names shard, member, offset and reason.
    """
    cells: dict[str, dict[str, Member]] = {}
    for name, start, length in members(store, shard, size, (PTH, JSON)):
        key, _, rest = posixpath.basename(name).partition(".")
        member = Member(store, shard, name, start, length)
        if cells.setdefault(key, {}).setdefault(rest, member) is not member:
            raise member.error("a file of this name stands more than once in the shard")
    found = [_cell(key, files) for key, files in cells.items() if set(files) - {JSON[1:]}]
    if not found:
        raise NotAShardError(store.path(shard), "", -1, f"the shard holds no *{PTH} tensor")
    return found


def _cell(key: str, files: dict[str, Member]) -> Sample:
    named = {rest.removesuffix(PTH): m for rest, m in sorted(files.items()) if rest != JSON[1:]}
    read = {name: _guarded(member, _tensor) for name, member in named.items()}
    about = files.get(JSON[1:])
    text = {} if about is None else _guarded(about, _text)
    extra: dict[str, NDArray[Any]] = {}
    foreign = []
    for name, (stack, _) in read.items():
        if about is not None and not _tell(key, name, stack, text, about, extra):
            foreign.append(name)
    kept = {name: found for name, found in read.items() if name not in foreign}
    extra[FOREIGN] = np.array([len(foreign)])
    extra[REST] = np.array([rest_of(text, list(named))], np.bytes_)
    return _sample(key, kept, _where(key, text), extra)


def _sample(
    key: str, kept: dict[str, tuple[Stack, NDArray[np.void]]], where: tuple[float, float],
    extra: dict[str, NDArray[Any]],
) -> Sample:  # fmt: skip
    chunks = [row for _, row in kept.values()]
    tensors = {name: asdict(stack) for name, (stack, _) in kept.items()}
    return Sample(
        key,
        json.dumps({"chunks": len(kept), "tensors": tensors}, sort_keys=True),
        *where,
        np.full(1, NO_TIME, np.int64),
        np.full(1, np.nan, np.float32),
        np.concatenate(chunks) if chunks else np.empty(0, CHUNK),
        extra,
    )


def _guarded(member: Member, read: Any) -> Any:
    try:
        return read(member)
    except DataError:
        raise
    except _FAULTS as error:
        reason = str(error) if isinstance(error, ValueError) else f"makes no sense ({error!r})"
        raise member.error(reason) from error


def _text(member: Member) -> dict[str, Any]:
    if member.size > MOST_BYTES:
        raise ValueError(f"has {member.size} bytes, at most {MOST_BYTES} are read")
    return read_text(member.read(0, member.size))


def _tensor(member: Member) -> tuple[Stack, NDArray[np.void]]:
    """The stack in a file, and the row of the index that says where it lies."""
    head = member.read(0, min(_HEAD, member.size))

    def read(offset: int, size: int) -> bytes:
        if 0 <= offset <= offset + size <= len(head):
            return head[offset : offset + size]
        return member.read(offset, size)

    file = torch_file(read, member.size)
    if not isinstance(file.tree, Tensor):
        raise ValueError(f"holds a {type(file.tree).__name__}, expected one tensor")
    stack = _stack(file.tree, file.big)
    entry = file.storages[file.tree.storage.key]
    row = np.zeros(1, CHUNK)
    whole = file.is_whole(file.tree)
    crc, method = (entry.crc, STORED) if whole else (0, PART)
    row[0] = (member.start + file.place_of(file.tree), stack.nbytes, stack.nbytes, crc, method, 0)
    return stack, row


def _stack(tensor: Tensor, big: bool) -> Stack:
    axes = len(tensor.shape)
    if not 2 <= axes <= 5 or 0 in tensor.shape:
        raise ValueError(
            f"a tensor {list(tensor.shape)}, expected [H, W] to [patches, dates, C, H, W]"
        )
    if shown_dtype(tensor.dtype).kind not in "biuf":
        raise ValueError(f"a tensor of {tensor.dtype}, expected whole or floating numbers")
    if tensor.span >= 2**32:
        raise ValueError(f"a tensor of {tensor.span} bytes, expected less than {2**32}")
    missing = (1,) * (5 - axes)
    shape, stride = missing + tensor.shape, (0,) * (5 - axes) + tensor.stride
    return Stack(tensor.dtype, big, shape, stride, axes == 5)  # type: ignore[arg-type]


def _tell(
    key: str, name: str, stack: Stack, text: dict[str, Any], about: Member,
    extra: dict[str, NDArray[Any]],
) -> bool:  # fmt: skip
    """Note dates and patches of a modality; False where they are another cell's."""
    if name not in text:
        return True
    P, D = stack.shape[:2]
    try:
        found = told(text[name], P, D, stack.patches)
    except _FAULTS as error:
        raise about.error(f"{name}: {error}") from error
    if key.isdecimal() and any(int(cell) != int(key) for cell in found.cells):
        return False
    extra[TIME + name] = np.where(found.time == NO_TIME, -1, found.time).reshape(1, P * D)
    if stack.patches:
        extra[PATCH + name] = np.array([[p.encode() for p in found.patches]], np.bytes_)
    return True


def _where(key: str, text: dict[str, Any]) -> tuple[float, float]:
    """Longitude and latitude of a cell, as any path tells them."""
    for value in text.values():
        path = value
        while isinstance(path, list) and path:
            path = path[0]
        if not isinstance(path, str):
            continue
        try:
            number, lon, lat = place_of(text_of(path).partition("/")[0])
        except ValueError:
            continue
        if not key.isdecimal() or int(number) == int(key):
            return lon, lat
    return float("nan"), float("nan")
