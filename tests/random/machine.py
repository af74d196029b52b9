"""A run in random steps: choose samples, load, stop, go on elsewhere; each batch beside the model.

As a script it tries as many cases as it is told: ``python -m tests.random.machine 20000``.
"""

import functools
import io
import json
import sys
from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import numpy as np
import torch
from hypothesis import HealthCheck, assume, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from torch.utils.data import (
    ConcatDataset,
    DistributedSampler,
    RandomSampler,
    Subset,
    WeightedRandomSampler,
)

import fastload
from fastload import DataLoader, Dataset, Radiometry, Recipe, View
from fastload.statistics import statistics
from fastload.storage.dates import NO_TIME
from tests.conformance.toy import Memory, Npy, Ragged
from tests.random.model import Order, Place, Samples, dates_shown, mixed, same

T, C, H, W = 3, 2, 6, 5
RECIPES = {
    "raw": None,
    "views": Recipe(
        (View(size=4, hflip=0.5, timestamp="distinct"), View(size=3, scale=(0.3, 1.0), blur=0.5)),
        Radiometry.quantile(0, 4000),
    ),
    "ragged, raw": None,
    "ragged": Recipe(
        (
            View(size=4, hflip=0.5), View(size=3, timestamp="same"),
            View(size=4, timestamp="all", vflip=0.5), View(size=2, timestamp="as_first"),
        ),
        Radiometry.quantile(0, 4000),
    ),
    "ragged, distinct": Recipe(
        (View(size=4, timestamp="distinct"), View(size=3, timestamp="distinct")),
        Radiometry.quantile(0, 4000),
    ),
}  # fmt: skip
SIZES = (7, 11)
"""Samples of the two toys."""


@functools.cache
def toy(number: int, recipe: str) -> Dataset:
    files = {}
    rng = np.random.default_rng(number)
    for i in range(SIZES[number]):
        file = io.BytesIO()
        np.save(file, rng.integers(0, 4000, (T, C, H, W)).astype(np.int16))
        files[f"{number}{i:03d}.npy"] = file.getvalue()
    store, some = Memory(f"toy{number}", files), dates(number, recipe)
    source = Npy("toy", store) if min(some) == T else Ragged("toy", store, some, -3.0)
    time = [[t if t < some[i] else NO_TIME for t in range(T)] for i in range(SIZES[number])]
    source.columns = replace(
        source.columns, group=np.array(groups(number), np.uint32), time=np.array(time, np.int64)
    )
    return Dataset({"toy": source}, RECIPES[recipe], statistics("v1.1-webdataset"), 0)


def dates(number: int, recipe: str) -> list[int]:
    """How many dates each sample of a toy has."""
    fewest = 2 if "distinct" in recipe else 1
    ragged = recipe.startswith("ragged")
    return [max(fewest, (5 * i + number) % T + 1) if ragged else T for i in range(SIZES[number])]


def groups(number: int) -> list[int]:
    return [i // 3 for i in range(SIZES[number])]


def whole(number: int) -> Samples:
    n = SIZES[number]
    return Samples(list(range(n)), [(number, i) for i in range(n)], groups(number))


class Run(RuleBasedStateMachine):
    """Some ranks that train together; a model says what each of their batches must be."""

    @initialize(
        recipe=st.sampled_from(list(RECIPES)),
        way=st.sampled_from(["whole", "subset", "Subset", "concat", "ConcatDataset", "mix"]),
        pick=st.lists(st.integers(0, SIZES[0] - 1), min_size=1, max_size=9),
        batch=st.integers(1, 4),
        shuffle=st.booleans(),
        drop_last=st.booleans(),
        seed=st.integers(0, 2**64 - 1),
        order=st.sampled_from(
            ["own", "own", "own", "window", "random", "weighted", "list", "ranks"]
        ),
        workers=st.integers(0, 1),
        ranks=st.sampled_from([1, 1, 2, 3]),
    )
    def open(self, **drawn: Any) -> None:
        self.__dict__.update(drawn)
        if self.order == "window":
            self.shuffle = True
            assume(self.way != "mix")
        if self.order in ("random", "weighted", "list"):
            self.ranks = 1
        self.data, self.samples = self.choose()
        self.together = self.batch * self.ranks
        self.place, self.iterators = Place(), list[Any]()
        self.items: list[int] | None = None
        self.start = self.end = torch.Generator().manual_seed(5).get_state()
        self.loaders = self.make()
        self.model = self.model_of()
        assume(self.length() > 0)

    def choose(self) -> tuple[Any, Any]:
        """The dataset as a user gives it, and as a list."""
        a, b = toy(0, self.recipe), toy(1, self.recipe)
        self.counts = [1]
        if self.way == "whole":
            return a, whole(0)
        if self.way == "subset":
            return a.subset(self.pick), whole(0).chosen(self.pick)
        if self.way == "Subset":
            return Subset(Subset(a, self.pick), [0, -1]), whole(0).chosen(
                [self.pick[0], self.pick[-1]]
            )
        if self.way == "mix":
            data = fastload.mix({a: 0.6, b: 0.4}, seed=3, samples=len(self.pick) + 4)
            self.counts = data.counts
            return data, None
        some, chosen = a.subset(self.pick), whole(0).chosen(self.pick)
        joined = chosen.followed_by(whole(1), SIZES[0], max(groups(0)) + 1)
        if self.way == "ConcatDataset":
            return ConcatDataset([Subset(a, self.pick), b]), joined
        return fastload.concat(some, b), joined

    def size(self) -> int:
        return sum(self.counts) if self.samples is None else len(self.samples)

    # The loaders, and the model of their order

    def sampler(self, rank: int) -> Any:
        n = self.size()
        if self.order == "random":
            return RandomSampler(range(n), generator=torch.Generator().manual_seed(5))
        if self.order == "weighted":
            weights = [1.0 + i % 3 for i in range(n)]
            return WeightedRandomSampler(weights, n + 1, generator=torch.Generator().manual_seed(5))
        if self.order == "ranks":
            return DistributedSampler(
                range(n), self.ranks, rank, shuffle=self.shuffle, seed=self.seed % 1000,
                drop_last=self.drop_last,
            )  # fmt: skip
        return [(3 * i + 1) % n for i in range(n)]

    def make(self) -> list[DataLoader]:
        options: dict[str, Any] = {
            "drop_last": self.drop_last, "num_workers": self.workers, "seed": self.seed,
        }  # fmt: skip
        if self.order in ("own", "window"):
            options |= {"shuffle": self.shuffle, "world_size": self.ranks}
            options |= {"shuffle_window": 2} if self.order == "window" else {}
            each = [{"rank": rank} for rank in range(self.ranks)]
        else:
            each = [{"sampler": self.sampler(rank)} for rank in range(self.ranks)]
        return [DataLoader(self.data, self.batch, **options, **more) for more in each]

    def model_of(self) -> Order:
        order = Order(self.size(), self.batch, self.seed, self.shuffle, self.drop_last)
        if self.order == "window":
            order.window, order.groups = 2, self.samples.groups
        if self.order in ("random", "weighted"):
            order.sampler = lambda epoch: self.items
        if self.order == "list":
            order.sampler = lambda epoch: self.sampler(0)
        return order

    def draw(self) -> None:
        """What torch's sampler gives from `start` on, and the state of its generator then."""
        sampler = self.sampler(0)
        sampler.generator.set_state(self.start)
        self.items, self.end = list(sampler), sampler.generator.get_state()

    def steps(self, epoch: int) -> list[list[list[int]]]:
        if self.order != "ranks":
            return self.model.steps(epoch, self.ranks)
        ranks = []
        for rank in range(self.ranks):
            sampler = self.sampler(rank)
            sampler.set_epoch(epoch)
            ranks.append(list(torch.utils.data.BatchSampler(sampler, self.batch, self.drop_last)))
        return [list(step) for step in zip(*ranks, strict=True)]

    def length(self) -> int:
        return len(self.loaders[0])

    # What a user does

    @rule(count=st.integers(1, 5))
    def take(self, count: int) -> None:
        """Some batches; all ranks in step."""
        for _ in range(count):
            if not self.iterators:
                self.begin()
            steps = self.steps(self.place.epoch)
            found = [next(iterator, None) for iterator in self.iterators]
            if self.place.step >= len(steps):
                assert found == [None] * self.ranks
                self.iterators, self.items = [], None
                self.place.end()
                return
            for batch, items in zip(found, steps[self.place.step], strict=True):
                self.compare(batch, items)
            self.place.step += 1

    def begin(self) -> None:
        if self.order in ("random", "weighted") and (self.place.begun or self.items is None):
            self.start = self.end
            self.draw()
        self.place.begin()
        self.iterators = [iter(loader) for loader in self.loaders]

    @precondition(lambda self: self.iterators)
    @rule()
    def leave(self) -> None:
        """`break`: the next loop is over the next epoch."""
        self.iterators = []
        if self.order in ("random", "weighted"):  # how far it was drawn ahead is not said
            sampler: Any = self.loaders[0].sampler
            self.end = sampler.generator.get_state()

    @rule(epoch=st.integers(0, 3))
    def set_epoch(self, epoch: int) -> None:
        if self.order in ("random", "weighted"):
            return  # its order knows no epochs
        self.place.set_epoch(epoch, self.length())
        for loader in self.loaders:
            loader.set_epoch(epoch)
        self.iterators = []

    @rule(batches=st.integers(0, 9))
    def skip(self, batches: int) -> None:
        drawn = self.order in ("random", "weighted")
        if drawn and (self.items is None or self.place.step + batches >= self.length()):
            return  # into what is not drawn yet
        if drawn:
            self.draw()  # again, from where it began
        self.place.skip(batches, self.length())
        for loader in self.loaders:
            loader.skip(batches)
        self.iterators = []

    @rule(form=st.sampled_from(["json", "torch"]), ranks=st.sampled_from([1, 2, 3, 4, 6]))
    def interrupt(self, form: str, ranks: int) -> None:
        """The processes end; others go on, perhaps more or fewer."""
        states = [loader.state_dict() for loader in self.loaders]
        assert all(state == states[0] for state in states)
        if self.order not in ("random", "weighted", "list") and self.together % ranks == 0:
            self.ranks, self.batch = ranks, self.together // ranks
            self.model = self.model_of()
        self.loaders, self.iterators = self.make(), []
        for loader in self.loaders:
            loader.load_state_dict(passed(states[0], form))
        self.place.loaded()
        if self.items is not None:
            self.draw()

    @precondition(lambda self: not self.iterators and self.order in ("own", "window"))
    @rule()
    def torchs_loader(self) -> None:
        """The loader's own batch sampler in torch's loader: the epoch that stands next."""
        if self.place.begun:
            return
        for rank, loader in enumerate(self.loaders):
            theirs = torch.utils.data.DataLoader(loader._data, batch_sampler=loader.batch_sampler)
            for batch, items in zip(theirs, self.steps(self.place.epoch), strict=True):
                self.compare(batch, items[rank])

    @precondition(lambda self: self.order in ("own", "window"))
    @rule(epoch=st.integers(0, 3), step=st.integers(0, 3))
    def keys_of(self, epoch: int, step: int) -> None:
        steps = self.steps(epoch)
        assume(step < len(steps))
        for rank, loader in enumerate(self.loaders):
            keys = loader.keys_of(epoch, step)
            assert keys == [self.shown(epoch, i)[0] for i in steps[step][rank]]

    # Comparing

    def shown(self, epoch: int, item: int) -> tuple[str, int, Dataset, int, int]:
        """Key, id, toy, place and turn of an item."""
        if self.samples is None:
            k, at, turn = mixed(SIZES, tuple(self.counts), 3, epoch)[item]
            data = toy(k, self.recipe)
            return str(data.keys[at]), at + k * SIZES[0], data, at, turn
        (k, at), number = self.samples.shows[item], self.samples.ids[item]
        data = toy(k, self.recipe)
        return str(data.keys[at]), number, data, at, 0

    def compare(self, batch: Any, items: list[int]) -> None:
        epoch = self.place.epoch
        shown = [self.shown(epoch, item) for item in items]
        assert batch["key"] == [s[0] for s in shown]
        assert batch["index"].tolist() == [s[1] for s in shown]
        for slot, (_, number, data, at, turn) in enumerate(shown):
            drawn_by = number + turn * sum(SIZES)
            self.compare_dates(batch, slot, data, at, drawn_by)
            if data.recipe is None:
                assert torch.equal(batch["toy"][slot], torch.from_numpy(data.read("toy", at)))
                continue
            for v, view in enumerate(self.views(data, at, drawn_by, epoch)):
                assert same(batch["toy"][v][slot], view)

    def compare_dates(self, batch: Any, slot: int, data: Dataset, at: int, drawn_by: int) -> None:
        """`time` and `present` of a sample; `time` is the number of the date."""
        k = 0 if str(data.keys[0]).startswith("0") else 1
        own = dates(k, self.recipe)[at]
        all_of = [t if t < own else NO_TIME for t in range(T)]
        shown: Any = [all_of]
        if data.recipe is not None:
            ways = [view.timestamp for view in data.recipe.views]
            drawn = dates_shown(ways, self.seed, self.place.epoch, drawn_by, own)
            shown = [all_of if t is None else t for t in drawn]
        times = batch["time"] if data.recipe is not None else [batch["time"]]
        assert [time[slot].tolist() for time in times] == shown
        ragged = self.recipe.startswith("ragged")
        assert ("present" in batch) == ragged
        if ragged:
            flags = batch["present"] if data.recipe is not None else [batch["present"]]
            there = [[t < own for t in range(T)] if s is all_of else True for s in shown]
            assert [some[slot].tolist() for some in flags] == there

    def views(self, data: Dataset, at: int, drawn_by: int, epoch: int) -> Any:
        """The views of one sample by the float64 reference, drawn by a number."""
        one = data.subset([at])
        one.ids = np.array([drawn_by])
        one.seed = self.seed
        one.set_epoch(epoch)
        return one[0]["toy"]


def passed(state: dict[str, Any], form: str) -> dict[str, Any]:
    """A state that went through a file."""
    if form == "json":
        return dict(json.loads(json.dumps(state)))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return dict(torch.load(file, weights_only=True))


def case(examples: int) -> Any:
    """The test, with so many cases."""
    Run.TestCase.settings = settings(
        max_examples=examples, stateful_step_count=12, deadline=None, database=None,
        suppress_health_check=list(HealthCheck), print_blob=True,
    )  # fmt: skip
    return Run.TestCase


if __name__ == "__main__":
    import unittest

    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(case(count))
    result = unittest.TextTestRunner().run(suite)
    print(f"{count} cases, {'all as the model says' if result.wasSuccessful() else 'FAILED'}")
    sys.exit(not result.wasSuccessful())
