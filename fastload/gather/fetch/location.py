"""One location: its candidates in turn, until one fits; or what fitted before, once more."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from fastload.gather.candidate import Candidate
from fastload.gather.fetch.scene_record import scene_of
from fastload.gather.patch import Outcome, Unfit
from fastload.gather.scene import Scene
from fastload.storage.errors import DataError

Scenes = Mapping[str, Sequence[Scene]]
"""Those of a sample, by modality."""


@dataclass
class Tally:
    """What a location took, all of its candidates together."""

    requests: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Made:
    """A candidate's sample.

    Attributes:
        scenes: by modality, what the manifest says of each; see `scene_record.record`.
        samples: by modality, the bytes of a shard's member.
    """

    scenes: Mapping[str, list[dict[str, Any]]]
    samples: Mapping[str, bytes]


class Maker(Protocol):
    """What makes samples. Several threads call it at a time; it pickles.

    Both may raise `Unfit`, where the archive has no sample of the candidate, now and whenever it is
    asked; and OSError or DataError, where it could not be had this time. The tally counts requests
    and bytes, whatever comes of it.
    """

    def choose(self, candidate: Candidate, tally: Tally) -> Scenes:
        """Scenes for a candidate's sample."""

    def make(self, scenes: Scenes, candidate: Candidate, key: str, tally: Tally) -> Made:
        """The sample of chosen scenes, which has a key."""


class Planned(Protocol):
    """Where and when."""

    def __len__(self) -> int: ...

    def key(self, i: int) -> str:
        """Of a location's sample."""

    def candidates(self, i: int) -> Sequence[Candidate]:
        """Of a location, in the order in which they are tried."""


class Known(Planned, Protocol):
    """That, of locations that were decided before."""

    def outcome(self, i: int) -> Outcome:
        """What became of a location."""


Found = tuple[Outcome, Mapping[str, bytes]]


def search(planned: Planned, i: int, maker: Maker, tally: Tally) -> Found:
    """What becomes of a location, and its samples by modality: none where no candidate fits.

    Raises:
        OSError, DataError: where that could not be found out this time.
    """
    absent = Outcome(i, planned.key(i), None)
    for candidate in planned.candidates(i):
        try:
            scenes = maker.choose(candidate, tally)
            made = maker.make(scenes, candidate, absent.key, tally)
        except Unfit as unfit:
            absent.failed.append(_failed(candidate, unfit))
            continue
        chosen = replace(absent, attempt=candidate.attempt, lon=candidate.lon, lat=candidate.lat)
        return _found(chosen, made, tally)
    return replace(absent, requests=tally.requests, bytes_read=tally.bytes), {}


def repeat(known: Known, i: int, maker: Maker, tally: Tally) -> Found:
    """A location's sample from the same scenes as before, without a search; an absent one stays so.

    Raises:
        OSError, DataError: where it could not be had this time.
    """
    before = known.outcome(i)
    if before.attempt is None:
        return before, {}
    [candidate] = known.candidates(i)
    scenes = {m: [scene_of(m, told) for told in some] for m, some in before.scenes.items()}
    try:
        made = maker.make(scenes, candidate, before.key, tally)
    except Unfit as unfit:
        reason = f"has no sample any more, which it had for the manifest ({unfit})"
        raise DataError(f"location {i}", "", -1, reason) from unfit
    return _found(before, made, tally)


def _found(outcome: Outcome, made: Made, tally: Tally) -> Found:
    sizes = {name: _size(content) for name, content in made.samples.items()}
    return replace(outcome, scenes=made.scenes, sizes=sizes, requests=tally.requests,
                   bytes_read=tally.bytes), made.samples  # fmt: skip


def _failed(candidate: Candidate, unfit: Unfit) -> dict[str, Any]:
    return {"attempt": candidate.attempt, "reason": unfit.reason, "detail": unfit.detail}


def _size(content: bytes) -> dict[str, Any]:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
