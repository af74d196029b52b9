"""Packing a dataset into shards, from the first look to the index beside them."""

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tqdm.auto import tqdm

from fastload.crew import Crew, crew, told_to_user, work_off
from fastload.datasets.base import Dataset
from fastload.pack.job import Job, job, sharded
from fastload.pack.manifest import SKIPPED, Journal, claim
from fastload.pack.options import Options
from fastload.pack.shard import Written, sweep, write_shard
from fastload.pack.space import check_space, estimate, per_shard
from fastload.processors import processors
from fastload.storage.errors import DataError
from fastload.storage.index import open_index
from fastload.storage.lock import alone
from fastload.storage.store import Local

_LOCK = ".fastload.pack.lock"
Say = Callable[[str], object]


class Packing(NamedTuple):
    """What came of packing.

    Attributes:
        folder: of the split.
        samples: how many are in the shards.
        shards: how many there are, and
        written: how many of them were written now.
        sizes: bytes of all tars, by modality.
        skipped: how many damaged samples were left out; `fastload.pack.skipped.jsonl` lists them.
    """

    folder: Path
    samples: int
    shards: int
    written: int
    sizes: dict[str, int]
    skipped: int


def pack(
    dataset: Dataset,
    target: str | os.PathLike[str],
    options: Options | None = None,
    *,
    split: str = "train",
    executor: str = "processes",
    workers: int | None = None,
    check_free: bool = True,
    progress: bool = False,
    say: Say = print,
) -> Packing:
    """Pack all samples of a dataset, in its order, as `fastload.SSL4EOS12` opens them.

    Writes ``{target}/{split}/{modality}/{name}_{number:06d}.tar`` with the index beside, and
    ``fastload.pack.json``, which says how. The bytes of the tars are a function of samples and
    options. Shards appear whole: after an interruption of any kind the same call goes on with those
    that are missing, and where nothing is missing it returns at once.

    Args:
        dataset: of any layout; chosen bands and samples are what is packed.
        target: root of the packed dataset, a local folder; made if missing.
        options: see `Options`.
        split: folder below the root.
        executor: "processes", "threads" or the address of a Dask scheduler; see `crew`.
        workers: how many; None: one for each processor that this process may use.
        check_free: compare the free space with an estimate first.
        progress: show a bar.
        say: receives the sentences on what is left out or changed.

    Raises:
        ValueError: says what cannot be packed, or which option does not fit.
        FileExistsError: where the folder holds other shards, or another process packs there.
        DataError: names the sample that cannot be read.
        OSError: such as a full disk. What is complete stays.
    """
    made = job(dataset, _folder(target, split), options or Options())
    for sentence in made.told:
        say(f"not lossless: {sentence}")
    made, sizes = _sized(made)
    made.folder.mkdir(parents=True, exist_ok=True)
    with alone(made.folder / _LOCK, "packs"):
        claim(made)
        journal = Journal(made)
        todo = [shard for shard in range(made.shards) if shard not in journal.done]
        if todo:
            sweep(made)
            if check_free:
                check_space(made, sizes or estimate(made), len(todo))
            workers = processors() if workers is None else workers
            with crew(write_shard, made, executor, workers, "pack") as at_work:
                _all(made, at_work, todo, journal, progress)
        return _finish(made, journal, len(todo), progress)


def _folder(target: str | os.PathLike[str], split: str) -> Path:
    if "://" in str(target):
        raise ValueError(f"target {str(target)!r}: shards are written to a folder of this machine")
    if not split or Path(split).name != split or split.startswith("."):
        raise ValueError(f"split must be a plain folder name, got {split!r}")
    return Path(target).expanduser() / split


def _sized(made: Job) -> tuple[Job, dict[str, float] | None]:
    """The job with its number of samples in a shard, and the sizes if they had to be estimated."""
    if made.options.shard_bytes is None:
        return made, None
    sizes = estimate(made)
    return sharded(made, per_shard(sizes, made.options.shard_bytes)), sizes


def _all(
    made: Job, at_work: Crew[int, Written], todo: list[int], journal: Journal, progress: bool
) -> None:
    """Write shards; what is complete when one fails is remembered before that is raised."""
    total = sum(len(made.members(shard)) for shard in todo)
    with tqdm(total=total, desc="packing", unit="sample", disable=not progress) as bar:

        def take(written: Written) -> tuple[()]:
            journal.add(written)
            bar.update(len(made.members(written.shard)))
            return ()

        told = "finishing the shards that are being written; again to stop at once"
        failure = work_off(at_work, todo, take, lambda: bar.write(told))
    if failure is not None:
        with contextlib.suppress(OSError):
            journal.close()  # a full disk had no room for a line; what was half-written has gone
        raise _told(failure, made, journal) from failure


def _told(failure: BaseException, made: Job, journal: Journal) -> BaseException:
    """An error as a sentence on what to do."""
    complete = f"{len(journal.done)} of {made.shards} shards are complete and stay"
    if isinstance(failure, DataError):
        kind = type(failure)
        reason = f"{failure.reason}; {complete} (--on-error skip leaves such samples out)"
        return kind(failure.shard, failure.member, failure.offset, reason)
    return told_to_user(failure, made.folder, "pack", complete)


def _finish(made: Job, journal: Journal, written: int, progress: bool) -> Packing:
    """Put the journal in order and index the shards."""
    done = journal.done.values()
    samples, skipped = sum(w.samples for w in done), sum(len(w.skipped) for w in done)
    journal.close()
    if not samples:
        raise ValueError(f"{made.folder}: no sample could be packed, see {SKIPPED}")
    names = [layer.name for layer in made.layers]
    for name in names:
        open_index(Local(made.folder / name), progress=progress)
    sizes: dict[str, int] = {n: sum(w.sizes.get(n, 0) for w in done) for n in names}
    return Packing(made.folder, samples, made.shards, written, sizes, skipped)
