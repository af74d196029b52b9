"""What is still to be done: locations that are not decided, shards that are not written."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fastload.gather.fetch.records import Record, recorded
from fastload.gather.fetch.state import State
from fastload.gather.fetch.work import Unit
from fastload.gather.pixels.shards import NAME, paths


class Todo:
    """The units of a gathering that are left, as the files say it.

    Args:
        state: of the gathering.
        folder: of the split.
        say: told of tars that are gone.

    Attributes:
        left: by shard that is not written, its locations that are not decided.
        records: of the others.
    """

    def __init__(self, state: State, folder: Path, say: Callable[[str], object]) -> None:
        self._state, self._folder = state, folder
        self.left: dict[int, set[int]] = {}
        self.records: dict[int, Record] = {}
        for shard in range(state.shards):
            record = recorded(state, shard)
            if record is not None and (gone := self._gone(record)) is not None:
                say(f"{gone} is not what was written; its shard is fetched again")
                state.forget(shard)
                record = None
            if record is None:
                self.left[shard] = {*state.locations(shard)} - state.kept(shard)
            else:
                self.records[shard] = record

    def _gone(self, record: Record) -> Path | None:
        """A tar that is not there, or has another size."""
        names = [*record.sizes]
        for name, path in zip(
            names, paths(self._folder, NAME, record.shard + 1, names), strict=True
        ):
            if not path.is_file() or path.stat().st_size != record.sizes[name]:
                return path
        return None

    @property
    def locations(self) -> int:
        """How many are not decided."""
        return sum(map(len, self.left.values()))

    def is_left(self, location: int) -> bool:
        """Whether a location is not decided."""
        return location in self.left.get(location // self._state.each, ())

    def units(self) -> Iterator[Unit]:
        """Shards whose locations are all decided, then the others' locations in order."""
        yield from [Unit("shard", shard) for shard, left in self.left.items() if not left]
        for left in [*self.left.values()]:
            yield from [Unit("location", location) for location in sorted(left)]

    def decided(self, location: int) -> list[Unit]:
        """Take note of a location; gives its shard, where nothing of that is left."""
        shard = location // self._state.each
        self.left[shard].discard(location)
        return [] if self.left[shard] else [Unit("shard", shard)]

    def written(self, record: Record) -> None:
        """Take note of a shard."""
        del self.left[record.shard]
        self.records[record.shard] = record
