"""One thing that is wrong with a data set."""

from dataclasses import asdict, dataclass
from typing import Any

from fastload.storage.errors import DataError, StorageError

KINDS = (
    "structure", "index", "keys", "chunk", "crc", "storage", "dates", "agreement", "offset",
    "not_finite", "no_data", "overlap",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Finding:
    """What is wrong, and where.

    Attributes:
        kind: of `KINDS`.
        modality: its name.
        shard: path of the file, as far as there is one.
        member: name inside it, or the sample's key.
        field: what of it is wrong, such as "time" or "bands".
        expected, found: in words.
        offset: byte in the shard; -1 where it has no place.
    """

    kind: str
    modality: str
    shard: str
    member: str
    field: str
    expected: str
    found: str
    offset: int = -1

    def __str__(self) -> str:
        where = " ".join(part for part in (self.modality, self.shard, self.member) if part)
        at = f" at byte {self.offset}" if self.offset >= 0 else ""
        return (
            f"{self.kind}: {where}{at}: {self.field}: expected {self.expected}, found {self.found}"
        )

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def of_error(modality: str, error: DataError, kind: str = "chunk") -> Finding:
    """A finding of what could not be read."""
    if isinstance(error, StorageError):
        kind, expected = "storage", "bytes from the storage"
    elif "CRC" in error.reason:
        kind, expected = "crc", "content that matches its CRC-32"
    else:
        expected = "a sound shard" if kind in ("structure", "index") else "a chunk that decodes"
    field = error.member.partition(".zarr.zip/")[2] or "content"
    return Finding(
        kind, modality, error.shard, error.member, field, expected, error.reason, error.offset
    )
