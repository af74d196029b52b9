"""A manifest as a plan, to fetch the same once more."""

from functools import lru_cache
from pathlib import Path

from fastload.gather.candidate import Candidate, Window
from fastload.gather.fetch.manifest import Manifest
from fastload.gather.patch import Outcome


class Again:
    """The locations of a manifest; see `location.Known`. It pickles by its path.

    Args:
        path: of the manifest, or its folder.

    Attributes:
        told: what its `gather.json` said.
        each: locations of a shard.

    Raises:
        ValueError: where the file is no manifest, or has open locations.
        FileNotFoundError: where there is none.
    """

    def __init__(self, path: Path) -> None:
        found = Manifest(path)
        if found.counts.open:
            raise ValueError(
                f"{found.path}: {found.counts.open} locations are open; expected all to be "
                "decided: run the command that wrote it again first"
            )
        self.path, self._count, self.told = found.path.resolve(), len(found), found.told
        self.each: int = found.told["locations_per_shard"]

    def __len__(self) -> int:
        return self._count

    def key(self, i: int) -> str:
        """See `Planned`."""
        return self.outcome(i).key

    def candidates(self, i: int) -> tuple[Candidate, ...]:
        """The one that fitted; none where none did."""
        outcome, windows = _shard(self.path, i // self.each)[i % self.each]
        assert outcome is not None
        if outcome.attempt is None or outcome.lon is None or outcome.lat is None:
            return ()
        return (Candidate(i, outcome.attempt, outcome.lon, outcome.lat, windows),)

    def outcome(self, i: int) -> Outcome:
        """See `Known`."""
        outcome, _ = _shard(self.path, i // self.each)[i % self.each]
        assert outcome is not None
        return outcome


@lru_cache(8)
def _shard(path: Path, number: int) -> list[tuple[Outcome | None, tuple[Window, ...]]]:
    return Manifest(path).shard(number)
