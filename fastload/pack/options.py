"""What packing is asked for, beside what is read."""

import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from numcodecs import Blosc

SHUFFLES = {"none": Blosc.NOSHUFFLE, "byte": Blosc.SHUFFLE, "bit": Blosc.BITSHUFFLE}
CODECS = ("lz4", "lz4hc", "zstd", "zlib", "blosclz", "none")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
_SIZE = re.compile(r"(\d+)\s*([KMG]?)(?:i?B)?", re.IGNORECASE)
_MOST_BLOCK = 2**30


def size_of(text: str | int, what: str) -> int:
    """Bytes, from a number or such as 64K.

    Raises:
        ValueError: names `what`.
    """
    found = _SIZE.fullmatch(str(text).strip())
    if not found:
        raise ValueError(f"{what} must be a number of bytes such as 65536 or 64K, got {text!r}")
    return int(found[1]) * _UNITS[found[2].upper()]


@dataclass(frozen=True)
class Options:
    """All that the bytes of packed shards depend on beside the samples; lossless by default.

    What is stored how by default is measured in docs/pack.md.

    Attributes:
        codec: of Blosc: "lz4", "lz4hc", "zstd", "zlib", "blosclz"; or "none".
        level: 0 to 9.
        shuffle: "byte", "bit" or "none".
        block: bytes of a Blosc block, of which a GPU decodes many at once; 0: Blosc's choice.
        crop: pixels that are kept, see `narrow.box_of`; None for all.
        uint8: whether pixels are kept as 8 bits only, and
        limits: what becomes 0 and 255; None: the mean less and plus two standard deviations of the
            dataset's statistics, of each band.
        samples_per_shard: samples in a tar; the last one may be short.
        shard_bytes: about how many bytes a tar of the largest modality has; instead of the former.
        order: shuffles the samples by this seed; None keeps their order.
        name: of the shards: ``{name}_{number:06d}.tar``.
        on_error: what is done about damaged samples: "raise", or "skip" to leave them out.

    Raises:
        ValueError: names the field and what was expected.
    """

    codec: str = "lz4hc"
    level: int = 5
    shuffle: str = "byte"
    block: int = 2**16
    crop: str | None = None
    uint8: bool = False
    limits: tuple[float, float] | None = None
    samples_per_shard: int = 512
    shard_bytes: int | None = None
    order: int | None = None
    name: str = "packed"
    on_error: str = "raise"

    def __post_init__(self) -> None:
        for field, there in (
            ("codec", CODECS), ("shuffle", tuple(SHUFFLES)), ("on_error", ("raise", "skip")),
        ):  # fmt: skip
            if getattr(self, field) not in there:
                raise ValueError(f"{field} must be one of {there}, got {getattr(self, field)!r}")
        _within("level", self.level, 0, 9)
        _within("block", self.block, 0, _MOST_BLOCK)
        _within("samples_per_shard", self.samples_per_shard, 1, 2**31)
        _within("order", self.order or 0, 0, 2**63 - 1)
        _within("shard_bytes", 1 if self.shard_bytes is None else self.shard_bytes, 1, 2**50)
        if not self.name or PurePath(self.name).name != self.name or not self.name.isprintable():
            raise ValueError(f"name must be a plain file name, got {self.name!r}")
        if self.limits is not None:
            low, high = self.limits
            if not self.uint8 or not low < high:
                raise ValueError(f"limits are of uint8, the low below the high, got {self.limits}")

    def compressor(self) -> Any:
        """The codec of all chunks."""
        if self.codec == "none":
            return None
        return Blosc(self.codec, self.level, SHUFFLES[self.shuffle], self.block)

    def shard(self, number: int) -> str:
        """File name of a shard, counted from 0."""
        return f"{self.name}_{number + 1:06d}.tar"


def _within(field: str, value: Any, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ValueError(f"{field} must be a whole number from {low} to {high}, got {value!r}")
