"""What of a gathering is done: files that appear whole, so that an end at any moment loses only
what was under way.

``.gather/parts/000001/0000123.zip`` is a location that is decided: its outcome and, if it is whole,
its samples. When all locations of a shard are, the shard is written, then its record
``.gather/shards/000001.parquet``, and then the parts go; the record is what counts.
"""

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from fastload.gather.patch import Outcome
from fastload.storage.errors import DataError
from fastload.storage.whole import PART, whole

FOLDER = ".gather"
_OUTCOME = "outcome.json"


@dataclass(frozen=True)
class State:
    """Files of a gathering; it pickles, and all workers see it under the same path.

    Attributes:
        folder: `OUT`.
        count: locations of the plan.
        each: locations of a shard.
    """

    folder: Path
    count: int
    each: int

    @property
    def own(self) -> Path:
        """Where the state is kept."""
        return self.folder / FOLDER

    @property
    def shards(self) -> int:
        """How many there are, the last one short."""
        return -(-self.count // self.each)

    def locations(self, shard: int) -> range:
        """Of a shard."""
        return range(shard * self.each, min(self.count, (shard + 1) * self.each))

    def part(self, location: int) -> Path:
        """Where a decided location is kept until its shard is written."""
        return self._parts(location // self.each) / f"{location:07d}.zip"

    def _parts(self, shard: int) -> Path:
        return self.own / "parts" / f"{shard + 1:06d}"

    # Locations

    def keep(self, outcome: Outcome, samples: Mapping[str, bytes]) -> None:
        """Remember a location.

        Raises:
            OSError: such as a full disk; nothing is left of it then.
        """
        path = self.part(outcome.location)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
            file.writestr(_OUTCOME, json.dumps(asdict(outcome)))
            for name, content in samples.items():
                file.writestr(name, content)

    def kept(self, shard: int) -> set[int]:
        """Locations of a shard that are decided, though the shard is not written."""
        with contextlib.suppress(FileNotFoundError):
            names = os.listdir(self._parts(shard))
            return {int(name[:-4]) for name in names if name.endswith(".zip") and name[0] != "."}
        return set()

    def outcome(self, location: int) -> Outcome:
        """What became of a location of a shard that is not written.

        Raises:
            DataError: where the file was damaged since; it is removed then.
        """
        with self._opened(location) as file:
            return _outcome(file.read(_OUTCOME))

    def samples(self, location: int) -> dict[str, bytes]:
        """Its samples by modality; none where it is absent. Raises the same."""
        with self._opened(location) as file:
            return {name: file.read(name) for name in file.namelist() if name != _OUTCOME}

    @contextlib.contextmanager
    def _opened(self, location: int) -> Iterator[zipfile.ZipFile]:
        path = self.part(location)
        try:
            with zipfile.ZipFile(path) as file:
                yield file
        except (zipfile.BadZipFile, EOFError, ValueError, KeyError, TypeError) as error:
            path.unlink(missing_ok=True)
            reason = (
                f"was damaged since it was kept ({error}); run the same command to fetch it again"
            )
            raise DataError(str(path), "", -1, reason) from error

    # Shards

    def record(self, shard: int) -> Path:
        """Where the record of a shard that is written lies; see `records`."""
        return self.own / "shards" / f"{shard + 1:06d}.parquet"

    def drop_parts(self, shard: int) -> None:
        """Remove what was kept of a shard's locations."""
        shutil.rmtree(self._parts(shard), ignore_errors=True)

    def forget(self, shard: int) -> None:
        """Undo a record, whose tars are gone."""
        self.record(shard).unlink(missing_ok=True)

    def sweep(self, split: Path) -> None:
        """Remove what processes left behind that were killed, also in the folder of the split."""
        own = (f"parts/*/.*{PART}", f"shards/.*{PART}")
        beside = (*self.folder.glob(f".*{PART}"), *split.glob(f"*/.*{PART}"))
        for left in (*beside, *(p for name in own for p in self.own.glob(name))):
            left.unlink(missing_ok=True)
        for folder in (self.own / "parts").glob("[0-9]*"):
            if self.record(int(folder.name) - 1).exists():
                self.drop_parts(int(folder.name) - 1)


def _outcome(text: str | bytes) -> Outcome:
    return Outcome(**json.loads(text))
