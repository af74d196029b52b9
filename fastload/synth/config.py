"""What a made dataset holds, and the note of it beside the shards."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fastload.storage.whole import write_whole
from fastload.synth.spectra import BANDS

_WORLD = 1  # raise it when the same seed makes other pixels
_INT16_MAX = 32767


@dataclass(frozen=True)
class Config:
    """Everything that the bytes of a made dataset depend on."""

    locations: int
    split: str
    modalities: tuple[str, ...]
    timestamps: int
    size: int
    samples_per_shard: int
    seed: int
    dn_offset: int
    world: int = _WORLD

    def __post_init__(self) -> None:
        """Check all fields.

        Raises:
            ValueError: a sentence with the field, its value and what was expected.
        """
        unknown = [m for m in self.modalities if m not in BANDS]
        if unknown or not self.modalities:
            raise ValueError(
                f"modalities: expected some of {list(BANDS)}, got {list(self.modalities)}"
            )
        if len(set(self.modalities)) < len(self.modalities):
            raise ValueError(f"modalities: each may be named once, got {list(self.modalities)}")
        for field, least in (
            ("locations", 1), ("timestamps", 1), ("samples_per_shard", 1), ("size", 16),
        ):  # fmt: skip
            if getattr(self, field) < least:
                raise ValueError(f"{field}: expected {least} or more, got {getattr(self, field)}")
        if not 0 <= self.seed < 2**64:
            raise ValueError(f"seed: expected a number in [0, 2**64), got {self.seed}")
        if not 0 <= self.dn_offset <= _INT16_MAX // 2:
            raise ValueError(
                f"dn_offset: expected a number in [0, {_INT16_MAX // 2}], got {self.dn_offset}"
            )
        if not self.split or Path(self.split).name != self.split or self.split.startswith("."):
            raise ValueError(f"split: expected a plain folder name, got {self.split!r}")

    @property
    def shards(self) -> int:
        """Number of tars a modality has; the last one may be short."""
        return -(-self.locations // self.samples_per_shard)

    def members(self, shard: int) -> range:
        """Locations in a shard, counted from 0."""
        first = shard * self.samples_per_shard
        return range(first, min(first + self.samples_per_shard, self.locations))


def shard_path(root: Path, split: str, modality: str, shard: int) -> Path:
    """Where the published layout keeps a shard, counted from 0."""
    return root / split / modality / f"ssl4eos12_shard_{shard + 1:06d}.tar"


def claim(root: Path, config: Config) -> None:
    """Write the note beside the shards, or compare with the one that lies there.

    Raises:
        FileExistsError: where the folder holds another dataset; nothing has been changed then.
    """
    note = root / config.split / "synth.json"
    wanted = json.loads(json.dumps(asdict(config)))
    if note.exists():
        found = json.loads(note.read_text())
        differ = [f"{k}={found.get(k)!r}, asked for {v!r}" for k, v in wanted.items()
                  if found.get(k) != v]  # fmt: skip
        if differ:
            raise FileExistsError(
                f"{note.parent} already holds a made dataset with {'; '.join(differ)}. "
                "Choose another directory, or delete that one."
            )
        return
    strangers = sorted(note.parent.glob("*/ssl4eos12_shard_*.tar"))
    if strangers:
        raise FileExistsError(
            f"{strangers[0]} exists, but no synth.json says that it was made here. "
            "Choose another directory; existing shards are never overwritten."
        )
    note.parent.mkdir(parents=True, exist_ok=True)
    write_whole(note, json.dumps(wanted, indent=2) + "\n")
