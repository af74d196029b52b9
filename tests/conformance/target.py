"""What every `fastload.engines.Target` must do."""

import errno
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

from fastload import DataError, Recipe
from fastload.datasets.base import Dataset
from fastload.datasets.source import Source
from fastload.engines import MOVERS, Options, Target, imported
from fastload.engines.engine import Engine
from fastload.engines.workers import Workers
from fastload.profile import Profile, Stages
from fastload.storage.errors import MachineError, StorageError
from fastload_kernels.philox import REPLACE, choice, words
from tests.conformance.mover import ends, in_memory
from tests.conformance.toy import Memory
from tests.conformance.toys import tars
from tests.fastload.made import (
    BOTH,
    LOCATIONS,
    assert_like_torch,
    assert_same,
    chunks,
    damaged,
    dataset,
    file_of,
    moco,
    workers_alive,
)
from tests.fastload.test_loader_engines import CASES

SEED = 6
SAMPLES = (3, 0, 3, 20, 7)
"""Of a batch; one of them twice."""
BAD, LATE = 4, 9
"""Samples that cannot be read, where a test says so."""
Batch = dict[str, Any]


class Plain(Source):
    """A source that has no chunks, and the pixels of another one."""

    def __init__(self, source: Source) -> None:
        self.source, self.modality, self.columns = source, source.modality, source.columns

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        self.source.read(sample, timestamps, out, stages)


def plain(data: Dataset, names: Sequence[str]) -> Dataset:
    """The same data, of which some modalities have no chunks."""
    sources = {n: Plain(s) if n in names else s for n, s in data.sources.items()}
    return Dataset(sources, data.recipe, data.statistics, data.seed, data.rows)


def expected(data: Dataset, samples: Sequence[int], epoch: int) -> Batch:
    """The batch that torch makes of ``dataset[i]``."""
    data.seed = SEED
    data.set_epoch(epoch)
    batch: Batch = default_collate([data[i] for i in samples])
    return batch


def alike(data: Dataset, batch: Batch, samples: Sequence[int], epoch: int) -> None:
    """A batch shows those samples, within the tolerance table."""
    recipe = data.recipe
    dtype, pixels = ("float32", ()) if recipe is None else (recipe.dtype, tuple(data.modalities))
    assert_like_torch(batch, expected(data, samples, epoch), dtype, pixels)


class Made:
    """A target with a mover, and what makes batches of them."""

    def __init__(self, suite: "TargetTests", data: Dataset, workers: int = 2, **more: Any) -> None:
        self.profile = Profile()
        options = Options(torch.device("cpu"), SEED, self.profile, len(SAMPLES), **more)
        self.target = suite.make(data, options)
        mover = imported(MOVERS[suite.mover])
        self.mover = mover(data, self.profile, self.target.queue, len(SAMPLES))
        self.engine = Engine(self.mover, self.target, self.profile)
        self.suite, self.workers = suite, Workers(workers)

    def begin(self, samples: Sequence[int] = SAMPLES, epoch: int = 0) -> Any:
        """A batch in the making."""
        request = self.target.draw(epoch, np.array(samples))
        return self.target.make(request, self.mover.begin(request, self.workers), self.workers)

    def batch(self, samples: Sequence[int] = SAMPLES, epoch: int = 0) -> Batch:
        """A finished batch in host memory."""
        return self.suite.to_host(self.begin(samples, epoch).wait())

    def close(self) -> None:
        self.workers.close()
        self.target.drain()
        self.mover.close()


class TargetTests:
    """Subclass it and give `make`."""

    mover = "threads"
    """Which one brings the bytes."""

    def make(self, data: Dataset, options: Options) -> Target:
        """A target, as `fastload.engines.Target` says how one is made; with its queue."""
        raise NotImplementedError

    def to_host(self, batch: Batch) -> Batch:
        """A batch with its pixels in host memory."""
        return batch

    # What a batch holds

    @pytest.mark.parametrize("case", CASES)
    def test_batches_equal_the_dataset(self, case: str) -> None:
        """`make`: what torch makes of ``dataset[i]``, for every recipe, epoch and order."""
        modalities, recipe = CASES[case]
        data = dataset(recipe, modalities, seed=SEED)
        made = Made(self, data)
        for epoch, samples in ((0, SAMPLES), (2, SAMPLES[::-1]), (2, SAMPLES[:1])):
            alike(data, made.batch(samples, epoch), samples, epoch)
        made.close()

    @pytest.mark.parametrize("workers", [0, 1, 4])
    def test_workers_change_nothing(self, workers: int) -> None:
        """Bit for bit the same with any number of workers."""
        data = dataset(moco(), BOTH)
        one, other = Made(self, data, 2), Made(self, data, workers)
        for epoch in range(3):
            assert_same(other.batch(epoch=epoch), one.batch(epoch=epoch))
        one.close()
        other.close()

    @pytest.mark.parametrize("case", ["raw", "moco, both", "series, both, channels-last",
                                      "policies", "plain, bfloat16, channels-last"])  # fmt: skip
    @pytest.mark.parametrize("which", ["first", "all"])
    def test_sources_without_chunks_give_the_same_batches(self, case: str, which: str) -> None:
        """A source need only `read`, beside one that has chunks or alone."""
        modalities, recipe = CASES[case]
        whole = dataset(recipe, modalities, seed=SEED)
        data = plain(whole, modalities[:1] if which == "first" else modalities)
        made = Made(self, data)
        for epoch in range(2):
            alike(whole, made.batch(epoch=epoch), SAMPLES, epoch)
        made.close()

    def test_tensors_are_laid_out_as_the_recipe_says(self) -> None:
        """Contiguous, or channels-last; each tensor on memory of its own, and writeable."""
        for last in (False, True):
            data = dataset(moco(channels_last=last), BOTH)
            made = Made(self, data)
            batch = made.batch()
            form = torch.channels_last if last else torch.contiguous_format
            views = [view for name in BOTH for view in batch[name]]
            for view in views:
                assert view.is_contiguous(memory_format=form)
                view.fill_(1.0)
            assert len({view.data_ptr() for view in views}) == len(views)
            made.close()

    def test_a_request_is_the_samples(self) -> None:
        """`draw`: the epoch, and the samples of the batch; the caller's array is not kept."""
        made = Made(self, dataset(moco(), BOTH))
        samples = np.array(SAMPLES)
        request = made.target.draw(3, samples)
        samples[:] = 0
        assert (request.epoch, request.samples.tolist()) == (3, list(SAMPLES))
        assert len(request) == len(SAMPLES)
        assert list(request.parts) == list(BOTH)
        made.close()

    def test_batches_stay_as_they_are_while_others_are_made(self) -> None:
        """A batch belongs to whoever holds it; several are in the making at once."""
        data = dataset(moco(), BOTH)
        made = Made(self, data)
        begun = [(epoch, made.begin(epoch=epoch)) for epoch in range(3)]
        kept = [(epoch, pending.wait()) for epoch, pending in begun]
        copies = [{n: [v.clone() for v in batch[n]] for n in BOTH} for _, batch in kept]
        for epoch in range(3, 9):
            made.batch(epoch=epoch)
        for (epoch, batch), copy in zip(kept, copies, strict=True):
            assert_same({n: batch[n] for n in BOTH}, copy)
            alike(data, self.to_host(batch), SAMPLES, epoch)
        made.close()

    def test_what_is_kept_on_the_device_is_shown_the_same(self) -> None:
        """`device_cache`: batches of which some or all samples are read no more."""
        data = dataset(moco())
        sample = int(np.prod(data.modalities["S2L1C"].shape)) * 2
        for room in (3, LOCATIONS):
            made = Made(self, data, device_cache=room * sample)
            for epoch in range(3):
                for samples in (SAMPLES, (1, 20, 0)):
                    alike(data, made.batch(samples, epoch), samples, epoch)
            made.close()

    # What cannot be had

    def bad(self, tmp_path: Path, recipe: Recipe | None, kind: str) -> tuple[Dataset, Dataset]:
        """Data in which `BAD` cannot be read, by chunks or as a whole; and the sound data."""
        sound = dataset(recipe, BOTH, seed=SEED)
        data = dataset(recipe, BOTH, seed=SEED, path=damaged(tmp_path / "data", BAD))
        return plain(data, BOTH) if kind == "no chunks" else data, sound

    @pytest.mark.parametrize("recipe", [None, moco()], ids=["raw", "moco"])
    @pytest.mark.parametrize("kind", ["chunks", "no chunks"])
    @pytest.mark.parametrize("workers", [0, 3])
    def test_replaced_samples_are_sound(
        self, tmp_path: Path, kind: str, recipe: Recipe | None, workers: int
    ) -> None:
        """The first sound candidate of a fixed sequence, whole: pixels, key and dates."""
        data, sound = self.bad(tmp_path, recipe, kind)
        made = Made(self, data, workers, on_error="replace")
        for epoch in range(2):
            samples = np.array([1, BAD, 7, BAD])
            drawn = words(SEED, epoch, [BAD], REPLACE, 0, 16)[0]
            found = [c for c in choice(drawn, len(data)).tolist() if c != BAD]
            alike(sound, made.batch(samples.tolist(), epoch), [1, found[0], 7, found[0]], epoch)
            assert samples.tolist() == [1, BAD, 7, BAD]
        assert (made.profile.errors, made.profile.replaced) == (4, 4)
        assert made.profile.storage_errors == 0
        made.close()

    @pytest.mark.parametrize("kind", ["chunks", "no chunks"])
    def test_an_error_is_raised_and_the_target_goes_on(self, tmp_path: Path, kind: str) -> None:
        """`DataError` by name; the batches before and after it are whole."""
        data, sound = self.bad(tmp_path, moco(), kind)
        made = Made(self, data)
        for _ in range(2):
            with pytest.raises(DataError, match="CRC-32") as caught:
                made.batch([0, 1, BAD])
            assert caught.value.member.startswith(data.keys[BAD])
            alike(sound, made.batch(), SAMPLES, 0)
        assert (made.profile.errors, made.profile.replaced) == (2, 0)
        made.close()

    @pytest.mark.parametrize("samples", [(0, BAD, 1, LATE), (LATE, BAD)], ids=["bad", "late"])
    @pytest.mark.parametrize(
        "without", [(), BOTH[:1], BOTH[1:], BOTH], ids=["no", "the first", "the second", "each"]
    )
    def test_the_first_error_is_raised(
        self, tmp_path: Path, samples: Sequence[int], without: Sequence[str]
    ) -> None:
        """By the order of the slots, whichever modalities have no chunks."""
        path = damaged(tmp_path / "data", BAD, "S2L1C")
        whole = dataset(moco(), BOTH, path=path)
        for chunk in chunks(whole, LATE, "S1GRD"):
            shard = file_of(whole, chunk, "S1GRD")
            content = bytearray(shard.read_bytes())
            content[chunk["offset"] + chunk["stored"] // 2] ^= 0x10
            shard.write_bytes(content)
        data = plain(whole, without)
        made = Made(self, data)
        for _ in range(3):
            with pytest.raises(DataError) as caught:
                made.batch(samples)
            first = next(s for s in samples if s in (BAD, LATE))
            assert caught.value.member.startswith(data.keys[first])
        made.close()

    def test_where_nothing_is_sound_the_samples_own_error_is_raised(self) -> None:
        """Replacing has an end."""
        store = Memory("nothing", tars())
        data = in_memory(store)
        made = Made(self, data, on_error="replace")
        store.files = {}
        with pytest.raises(DataError) as caught:
            made.batch([2, 1])
        assert caught.value.member.startswith(data.keys[2])
        assert made.profile.replaced == 0
        made.close()

    def test_storage_trouble_is_replaced_and_counted_apart(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`StorageError`, after asking again, has the same two choices as damage."""
        monkeypatch.setattr("fastload.storage.store.RETRIES_S", ())
        error = OSError(errno.EIO, "input/output error")
        for on_error in ("replace", "raise"):
            store = Memory("trouble", tars())
            data = in_memory(store)
            made = Made(self, data, 0, on_error=on_error)
            store.fails = [error]
            if on_error == "raise":
                with pytest.raises(StorageError):
                    made.batch([2, 1])
            else:
                batch = made.batch([2, 1])
                alike(data, batch, batch["index"].tolist(), 0)
            assert (made.profile.errors, made.profile.storage_errors) == (1, 1)
            made.close()

    def test_trouble_of_the_machine_is_never_replaced(self) -> None:
        """`MachineError` is raised whatever `on_error` says, and counts as no sample's error."""
        store = Memory("scarce", tars())
        data = in_memory(store)
        made = Made(self, data, on_error="replace")
        store.fails = [OSError(errno.EMFILE, "too many open files")] * 1000
        with pytest.raises(MachineError):
            made.batch([2, 1])
        assert made.profile.errors == made.profile.replaced == 0
        store.fails = []
        alike(data, made.batch([2, 1]), [2, 1], 0)
        made.close()

    # Many at once, and ends

    def test_iterations_in_two_threads_share_a_target(self) -> None:
        """One target, two producers, each in an epoch of its own."""
        data = dataset(moco(), BOTH)
        made = Made(self, data)
        order = np.arange(LOCATIONS).reshape(-1, 3)
        alone = {epoch: [made.batch(ids.tolist(), epoch) for ids in order] for epoch in range(2)}

        def iterate(epoch: int) -> list[Batch]:
            def step(i: int) -> NDArray[np.int64] | None:
                return order[i] if i < len(order) else None

            return [self.to_host(batch) for batch in made.engine.iterate(2, 2, epoch, step)]

        with ThreadPoolExecutor(2) as pool:
            for epoch, batches in enumerate(pool.map(iterate, range(2))):
                assert_same(batches, alone[epoch])
        made.close()

    @pytest.mark.parametrize("kind", ["chunks", "no chunks"])
    @pytest.mark.parametrize("when", ["before it begins", "after it began", "while it is read"])
    def test_cancelled_workers_do_not_hang(
        self, monkeypatch: pytest.MonkeyPatch, kind: str, when: str
    ) -> None:
        """`make` of a batch that nobody wants any more ends, with an error or without one."""
        store = Memory("cancelled", tars())
        data = in_memory(store)
        made = Made(self, plain(data, ["S2L1C"]) if kind == "no chunks" else data)
        read, cancel = store.read, made.workers.cancel

        def cancelling(*args: Any) -> int:
            cancel()
            return read(*args)

        def end() -> None:
            request = made.target.draw(0, np.arange(6))
            if when == "before it begins":
                cancel()
            elif when == "while it is read":
                monkeypatch.setattr(store, "read", cancelling)
            load = made.mover.begin(request, made.workers)
            if when == "after it began":
                cancel()
            made.target.make(request, load, made.workers)

        assert ends(lambda: _quietly(end))
        made.close()

    def test_an_iteration_that_is_closed_early_ends(self) -> None:
        """`drain`: no thread is left, no memory of a given-up batch is in use; it goes on."""
        data = dataset(moco(), BOTH)
        made = Made(self, data)
        for taken in (0, 1, 3):
            batches = made.engine.iterate(2, 3, 0, lambda _: np.array(SAMPLES))
            first = [next(batches) for _ in range(taken)]
            assert ends(batches.close)
            assert list(batches) == []
            for batch in first:
                alike(data, self.to_host(batch), SAMPLES, 0)
        made.close()
        assert not workers_alive()

    def test_draining_may_be_repeated(self) -> None:
        """`drain` with nothing in the making, with a batch given up, and after it."""
        data = dataset(moco(), BOTH)
        made = Made(self, data)
        made.target.drain()
        kept = made.begin()
        given_up = made.begin(epoch=1)
        made.target.drain()
        made.target.drain()
        del given_up
        alike(data, self.to_host(kept.wait()), SAMPLES, 0)
        made.close()

    def test_a_summary_is_plain(self) -> None:
        """`summary`: numbers and strings, before and after a batch."""
        made = Made(self, dataset(moco()))
        json.dumps(made.target.summary())
        made.batch()
        json.dumps(made.target.summary())
        made.close()


def _quietly(work: Any) -> None:
    """Do it; an error is as good an end as another."""
    try:
        work()
    except RuntimeError:
        return
