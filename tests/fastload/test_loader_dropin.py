import json
import os
import pickle
import random
import socket
import subprocess
import sys
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.utils.data
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
)

from fastload import SSL4EOS12, DataLoader
from tests.fastload.made import (
    BOTH,
    ENGINES,
    LOCATIONS,
    REPOSITORY,
    assert_like_torch,
    assert_same,
    dataset,
    flat,
    indices,
    moco,
    root,
)
from tests.tolerances import assert_close

pytestmark = pytest.mark.timeout(120)


def generator(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# --- any other dataset is loaded as torch would ---


class Count(IterableDataset[int]):
    def __iter__(self) -> Iterator[int]:
        info = torch.utils.data.get_worker_info()
        yield from range(
            0 if info is None else info.id, 10, 1 if info is None else info.num_workers
        )


def numbers() -> TensorDataset:
    return TensorDataset(torch.arange(23), torch.arange(23.0) ** 2)


def double(samples: list[Any]) -> list[Any]:
    return [2 * int(sample[0]) for sample in samples]


FOREIGN = {
    "plain": lambda: {"batch_size": 4},
    "shuffled": lambda: {"batch_size": 4, "shuffle": True, "generator": generator()},
    "drop_last": lambda: {"batch_size": 4, "drop_last": True},
    "collate_fn": lambda: {"batch_size": 5, "collate_fn": double},
    "sampler": lambda: {
        "batch_size": 3, "sampler": RandomSampler(range(23), generator=generator()),
    },
    "batch_sampler": lambda: {"batch_sampler": BatchSampler(SequentialSampler(range(23)), 6, True)},
    "no batches": lambda: {"batch_size": None},
    "workers": lambda: {"batch_size": 4, "num_workers": 2, "prefetch_factor": 3},
    "persistent": lambda: {
        "batch_size": 4, "num_workers": 1, "persistent_workers": True, "shuffle": True,
        "generator": generator(), "in_order": True, "timeout": 30,
    },
    "context": lambda: {"num_workers": 1, "multiprocessing_context": "fork"},
}  # fmt: skip


@pytest.mark.parametrize("case", FOREIGN)
def test_a_map_dataset_is_torchs(case: str) -> None:
    mine = DataLoader(numbers(), **FOREIGN[case]())
    theirs = torch.utils.data.DataLoader(numbers(), **FOREIGN[case]())
    assert isinstance(mine, torch.utils.data.DataLoader)
    assert len(mine) == len(theirs)
    for _ in range(2):
        torch.manual_seed(0)
        expected = list(theirs)
        torch.manual_seed(0)
        assert_same(list(mine), expected)
    for name in ("batch_size", "num_workers", "prefetch_factor", "drop_last", "persistent_workers",
                 "collate_fn", "pin_memory", "timeout"):  # fmt: skip
        assert getattr(mine, name) == getattr(theirs, name)
    assert type(mine.sampler) is type(theirs.sampler)


@pytest.mark.parametrize("workers", [0, 2])
def test_an_iterable_dataset_is_torchs(workers: int) -> None:
    mine = DataLoader(Count(), 3, num_workers=workers)
    theirs = torch.utils.data.DataLoader(Count(), 3, num_workers=workers)
    assert_same(list(mine), list(theirs))
    with pytest.raises(TypeError):
        len(mine)


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch_size": 2, "batch_sampler": [[0]]},
        {"shuffle": True, "sampler": [0]},
        {"prefetch_factor": 4},
        {"persistent_workers": True},
        {"num_workers": -1},
        {"batch_size": 0},
    ],
)
def test_torchs_complaints_are_torchs(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError) as theirs:  # noqa: PT011
        torch.utils.data.DataLoader(numbers(), **wrong)
    with pytest.raises(ValueError) as mine:  # noqa: PT011
        DataLoader(numbers(), **wrong)
    assert str(mine.value) == str(theirs.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("device", "meta"), ("on_error", "replace"), ("shuffle_window", 2), ("error_report", "x")],
)
def test_what_torch_would_ignore_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name}: for fastload datasets only, and TensorDataset"):
        DataLoader(numbers(), **{name: value})


def test_a_foreign_loader_has_no_position_but_an_epoch() -> None:
    sampler = DistributedSampler(range(23), 2, 1)
    loader = DataLoader(numbers(), sampler=sampler)
    loader.set_epoch(4)
    assert sampler.epoch == 4
    assert loader.state_dict() == {}
    loader.load_state_dict({})
    for ask in (loader.stats, lambda: loader.load_state_dict({"epoch": 1})):
        with pytest.raises(TypeError, match="for fastload datasets, not for TensorDataset"):
            ask()
    with pytest.raises(ValueError, match=r"order\(\) is defined for the loader's own order"):
        loader.order(0)


# --- torch's arguments with our datasets ---


def test_types() -> None:
    loader = DataLoader(dataset(moco()), 4, shuffle=True, num_workers=3, drop_last=True)
    assert isinstance(loader, torch.utils.data.DataLoader)
    assert isinstance(loader.sampler, DistributedSampler)
    assert isinstance(loader.batch_sampler, BatchSampler)
    assert (loader.batch_size, loader.num_workers, loader.drop_last) == (4, 3, True)
    assert isinstance(loader.dataset, torch.utils.data.Dataset)
    assert len(loader.batch_sampler) == len(loader) == 5
    assert list(loader.batch_sampler) == indices(loader)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("workers", [0, 2])
def test_sampler(engine: Any, workers: int) -> None:
    data = dataset(moco(), BOTH)
    chosen = [3, 3, 0, LOCATIONS - 1, 7, -1, 5]
    loader = DataLoader(data, 3, sampler=chosen, num_workers=workers, engine=engine)
    theirs = torch.utils.data.DataLoader(data, 3, sampler=chosen)
    assert len(loader) == len(theirs) == 3
    for mine, expected in zip(loader, theirs, strict=True):
        assert_like_torch(mine, expected, "float32", BOTH)
    assert len(indices(DataLoader(data, 3, sampler=chosen, drop_last=True))) == 2
    with pytest.raises(ValueError, match="mutually exclusive"):
        DataLoader(data, 3, sampler=chosen, shuffle=True)
    with pytest.raises(ValueError, match="own order"):
        loader.order(0)


@pytest.mark.parametrize("engine", ENGINES)
def test_weighted_sampler_draws_as_torchs(engine: Any) -> None:
    data = dataset()
    weights = [i % 3 for i in range(LOCATIONS)]

    def sampler() -> WeightedRandomSampler:
        return WeightedRandomSampler(weights, 40, generator=generator())

    loader = DataLoader(data, 4, sampler=sampler(), num_workers=2, engine=engine)
    theirs = list(BatchSampler(sampler(), 4, False))
    found = indices(loader)
    assert found == theirs
    assert all(i % 3 for ids in found for i in ids)
    assert indices(loader) != found  # the generator goes on


@pytest.mark.parametrize("engine", ENGINES)
def test_batch_sampler_of_uneven_batches(engine: Any) -> None:
    chosen = [[1, 2], [5], [0, 9, 4, 3, 8, 2], [7, 7]]
    loader = DataLoader(dataset(moco()), batch_sampler=chosen, num_workers=2, engine=engine)
    assert len(loader) == 4
    assert loader.batch_size is None
    assert indices(loader) == chosen
    with pytest.raises(ValueError, match="mutually exclusive"):
        DataLoader(dataset(), 3, batch_sampler=chosen)


class Endless:
    """A batch sampler without an end or a length."""

    def __init__(self, batch_size: int | None = None) -> None:
        self.drawn = 0
        if batch_size is not None:
            self.batch_size = batch_size

    def __iter__(self) -> Iterator[list[int]]:
        rng = random.Random(0)
        while True:
            self.drawn += 1
            yield [rng.randrange(LOCATIONS) for _ in range(3)]

    def set_epoch(self, epoch: int) -> None:
        """The order is the same in each."""


@pytest.mark.parametrize("engine", ENGINES)
def test_an_endless_sampler_is_drawn_as_needed(engine: Any) -> None:
    sampler = Endless(3)
    expected = list(islice(Endless(), 50))
    loader = DataLoader(dataset(), batch_sampler=sampler, num_workers=2, engine=engine)
    assert indices(islice(loader, 10)) == expected[:10]
    assert sampler.drawn < 20
    state = loader.state_dict()
    assert (state["epoch"], state["step"]) == (0, 10)
    loader.load_state_dict(state)
    assert indices(islice(loader, 40)) == expected[10:]
    with pytest.raises(TypeError):
        len(loader)


def test_dali_need_not_know_the_largest_batch() -> None:
    mine = DataLoader(dataset(), batch_sampler=Endless(), engine="dali")
    theirs = DataLoader(dataset(), batch_sampler=Endless(), engine="threads")
    assert_same(list(islice(mine, 5)), list(islice(theirs, 5)))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sample", [LOCATIONS, -LOCATIONS - 1])
def test_a_sample_that_is_not_there(engine: Any, sample: int) -> None:
    loader = DataLoader(dataset(), 2, sampler=[0, 1, 0, sample], num_workers=1, engine=engine)
    with pytest.raises(IndexError, match=r"the sampler gave sample -?\d+, but the dataset has 21"):
        list(loader)


@pytest.mark.parametrize("inside", [False, True])
def test_samplers_with_an_epoch_are_kept_in_step(inside: bool) -> None:
    def make() -> tuple[DataLoader, DistributedSampler[Any]]:
        sampler = DistributedSampler(range(LOCATIONS), 2, 1, shuffle=True)
        if inside:
            return DataLoader(dataset(), batch_sampler=BatchSampler(sampler, 3, False)), sampler
        return DataLoader(dataset(), 3, sampler=sampler), sampler

    def expected(epoch: int) -> list[int]:
        sampler = DistributedSampler(range(LOCATIONS), 2, 1, shuffle=True)
        sampler.set_epoch(epoch)
        return list(sampler)

    loader, sampler = make()
    for epoch in (0, 1):  # nobody says anything
        assert flat(indices(loader)) == expected(epoch)
    sampler.set_epoch(7)  # as one does with torch
    assert flat(indices(loader)) == expected(7)
    assert loader.epoch == 8
    loader.set_epoch(3)
    assert flat(indices(loader)) == expected(3)
    list(islice(loader, 2))
    fresh, sampler = make()
    fresh.load_state_dict(loader.state_dict())
    sampler.set_epoch(4)
    assert flat(indices(fresh)) == expected(4)[6:]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("recipe", [None, moco(), moco(dtype="float16", channels_last=True)])
def test_collate_fn_gets_samples_like_the_datasets(engine: Any, recipe: Any) -> None:
    data = dataset(recipe, BOTH, seed=2)
    loader = DataLoader(data, 4, seed=2, num_workers=2, engine=engine, collate_fn=lambda x: x)
    found = flat(loader)
    assert len(found) == LOCATIONS
    for i, sample in enumerate(found):
        assert list(sample) == list(data[i])
        assert_like_torch(
            sample, data[i], "float32" if recipe is None else recipe.dtype, BOTH if recipe else ()
        )
    plain = list(DataLoader(data, 4, seed=2))
    collated = DataLoader(data, 4, seed=2, collate_fn=lambda samples: default_collate(samples))
    for a, b in zip(plain, collated, strict=True):
        assert_like_torch(a, b, "float32", ())
    assert_same(list(DataLoader(data, 4, seed=2, collate_fn=default_collate)), plain)


def test_collate_fn_may_be_set_later_as_with_torch() -> None:
    loader = DataLoader(dataset(), 4)
    loader.collate_fn = len
    assert list(loader) == [4, 4, 4, 4, 4, 1]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="an accelerator is here")
def test_pin_memory_without_an_accelerator_warns_as_torch() -> None:
    with pytest.warns(UserWarning, match="'pin_memory' argument is set as true") as theirs:
        list(torch.utils.data.DataLoader(numbers(), pin_memory=True))
    with pytest.warns(UserWarning, match="'pin_memory' argument is set as true") as mine:
        (batch,) = DataLoader(dataset(), LOCATIONS, pin_memory=True)
    assert str(mine[0].message) == str(theirs[0].message)
    assert mine[0].filename == __file__
    assert not batch["S2L1C"].is_pinned()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA here")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_pinned_and_on_the_device(engine: Any, device: str) -> None:
    data = dataset(moco(), BOTH)
    expected = list(DataLoader(data, 4))
    loader = DataLoader(data, 4, num_workers=2, pin_memory=True, device=device, engine=engine)
    for mine, theirs in zip(loader, expected, strict=True):
        for name in BOTH:
            for a, b in zip(mine[name], theirs[name], strict=True):
                assert a.device.type == device
                assert a.is_pinned() or device == "cuda"
                assert_close(a.cpu(), b, "float32")


def test_delivery_on_a_device() -> None:
    """`meta` is the one device that every machine has."""
    (batch,) = DataLoader(dataset(moco()), LOCATIONS, device="meta")
    assert batch["S2L1C"][1].device.type == "meta"
    assert batch["time"][0].device.type == batch["index"].device.type == "cpu"
    assert batch["key"][0] == "0000000"


def test_arguments_that_only_processes_need_are_accepted() -> None:
    loader = DataLoader(
        dataset(), 4, num_workers=2, timeout=5, worker_init_fn=print, persistent_workers=True,
        multiprocessing_context="spawn", generator=generator(), in_order=False,
    )  # fmt: skip
    assert flat(indices(loader)) == list(range(LOCATIONS))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_loader_may_travel_to_another_process(engine: Any) -> None:
    loader = DataLoader(dataset(moco()), 4, True, num_workers=2, seed=3, engine=engine)
    fresh = len(pickle.dumps(loader))
    list(islice(loader, 2))
    travelling = pickle.dumps(loader)
    assert len(travelling) < 1.1 * fresh  # batches' memory stays at home
    copy = pickle.loads(travelling)
    state = loader.state_dict()
    assert copy.state_dict() == state
    loader.load_state_dict(state)
    copy.load_state_dict(state)
    assert_same(list(copy), list(loader))
    assert copy.stats()["batches"] == 4


# --- trainers and ranks ---


def lightning_net() -> Any:
    """A Lightning module that writes down what it gets."""
    import lightning.pytorch as pl

    class Net(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(13, 1)
            self.seen: list[list[int]] = []

        def training_step(self, batch: Any, step: int) -> torch.Tensor:
            self.seen.append([self.current_epoch, *batch["index"].tolist()])
            return self.layer(batch["S2L1C"][0].mean((2, 3))).mean()

        def predict_step(self, batch: Any, step: int) -> None:
            self.seen.append(batch["index"].tolist())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 1e-3)

    return Net()


def lightning_trainer(folder: Path, **more: Any) -> Any:
    import lightning.pytorch as pl

    return pl.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, **more,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_lightning_goes_on_from_any_checkpoint(tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import LambdaCallback

    def make() -> DataLoader:
        return DataLoader(dataset(moco()), 4, shuffle=True, num_workers=1, seed=1)

    def save(trainer: Any, *_: Any) -> None:
        trainer.save_checkpoint(tmp_path / f"{trainer.global_step}.ckpt")

    straight = make()
    expected = [[epoch, *ids] for epoch in (0, 1) for ids in indices(straight)]
    net, loader = lightning_net(), make()
    trainer = lightning_trainer(tmp_path, callbacks=[LambdaCallback(on_train_batch_end=save)])
    trainer.fit(net, loader)
    assert trainer.train_dataloader is loader
    assert net.seen == expected
    assert loader.state_dict() == straight.state_dict() | {"epoch": 1, "step": len(loader)}
    for step in range(1, len(expected)):
        net = lightning_net()
        lightning_trainer(tmp_path).fit(net, make(), ckpt_path=tmp_path / f"{step}.ckpt")
        assert net.seen == expected[step:], step
    net = lightning_net()
    lightning_trainer(tmp_path).predict(net, make())
    assert net.seen == [ids for epoch, *ids in expected if epoch == 0]


def in_a_group(rank: int, folder: Path, data: SSL4EOS12) -> dict[str, Any]:
    """Load before and after there is a process group, without a word about ranks."""
    early = DataLoader(data, 3, shuffle=True, seed=1, num_workers=1)
    assert early.plan.world_size == 1
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    late = DataLoader(data, 3, shuffle=True, seed=1, num_workers=1)
    seen = [indices(early), indices(late)]
    states = [early.state_dict(), late.state_dict()]
    torch.distributed.destroy_process_group()
    # The group is gone, the place in it is kept.
    states += [early.state_dict(), late.state_dict()]
    return {"seen": seen, "states": states, "len": [len(early), len(late)]}


def in_lightning(rank: int, folder: Path, data: SSL4EOS12) -> dict[str, Any]:
    """Train in a group of Lightning's. The loader is made before there is one."""
    loader = DataLoader(data, 3, shuffle=True, seed=1, num_workers=1)
    net = lightning_net()
    trainer = lightning_trainer(folder, strategy="ddp", devices=2)
    trainer.fit(net, loader)
    torch.distributed.destroy_process_group()
    return {
        "seen": net.seen,
        "len": len(loader),
        "state": loader.state_dict(),
        "same": trainer.train_dataloader is loader,
        "sampler": type(trainer.train_dataloader.sampler).__name__,
        "rank": trainer.global_rank,
    }


def rank_main(rank: int, folder: Path, data_root: Path) -> None:
    """What each of the two processes does."""
    data = SSL4EOS12(data_root, recipe=moco())
    out = [in_a_group(rank, folder, data), in_lightning(rank, folder, data)]
    (folder / f"{rank}.json").write_text(json.dumps(out))


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.mark.filterwarnings("ignore")
def test_ranks_are_torch_distributeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes: this one, and one that it starts."""
    # Lightning takes it from these that its processes have been started.
    for name, value in (("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(free_port()))):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_RANK", "1")
    script = (
        f"from pathlib import Path; from {__name__} import rank_main; "
        f"rank_main(1, Path({str(tmp_path)!r}), Path({str(root())!r}))"
    )
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    other = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        monkeypatch.setenv("LOCAL_RANK", "0")
        rank_main(0, tmp_path, root())
        assert other.wait(60) == 0
    finally:
        other.kill()
    plain, lightning = zip(
        *(json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)), strict=True
    )
    alone = DataLoader(dataset(), 6, shuffle=True, seed=1)
    list(alone)
    for which in range(2):  # the loader made before there was a group, and the one made after
        assert all(rank["len"][which] == len(alone) for rank in plain)
        assert_split([rank["seen"][which] for rank in plain], alone.order(0).tolist())
    assert all(state == alone.state_dict() for rank in plain for state in rank["states"])
    list(alone)
    assert [out["rank"] for out in lightning] == [0, 1]
    for out in lightning:
        assert out["same"]
        assert out["sampler"] == "PlanSampler"
        assert out["len"] == len(alone)
        assert out["state"] == alone.state_dict() | {"epoch": 1, "step": len(alone)}
    for epoch in (0, 1):
        seen = [[ids for e, *ids in out["seen"] if e == epoch] for out in lightning]
        assert_split(seen, alone.order(epoch).tolist())


def assert_split(ranks: list[list[list[int]]], order: list[int]) -> None:
    """Two ranks with batches of 3 see what one sees with 6, each every other sample."""
    assert [len(seen) for seen in ranks] == [-(-len(order) // 6)] * 2
    for s, (a, b) in enumerate(zip(*ranks, strict=True)):
        want = order[6 * s : 6 * s + 6]
        want = want + order[: len(want) % 2]
        assert (a, b) == (want[0::2], want[1::2])


def test_accelerate(tmp_path: Path) -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    loader = DataLoader(dataset(moco()), 4, shuffle=True, num_workers=2, seed=1)
    model = torch.nn.Linear(13, 1)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    model, optimizer, prepared = accelerator.prepare(model, optimizer, loader)
    assert prepared is loader
    assert accelerator.prepare(prepared) is loader
    seen = []
    for batch in islice(prepared, 3):
        loss = model(batch["S2L1C"][0].mean((2, 3))).mean()
        accelerator.backward(loss)
        optimizer.step()
        seen.append(batch["index"].tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        accelerator.save_state(str(tmp_path / "state"))
        list(islice(prepared, 2))
        accelerator.load_state(str(tmp_path / "state"))
    seen += indices(prepared)
    order = loader.order(0).tolist()
    assert seen == [order[s : s + 4] for s in range(0, LOCATIONS, 4)]
    accelerator.free_memory()


def test_accelerate_prepares_other_datasets_itself() -> None:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    prepared = accelerator.prepare(DataLoader(numbers(), 5))
    assert [a.tolist() for a, _ in prepared] == [
        list(range(s, min(s + 5, 23))) for s in range(0, 23, 5)
    ]
    accelerator.free_memory()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_collate_function_cannot_end_the_epoch(workers: int) -> None:
    """Else the rest of the samples would be lost without a word."""

    def ends(samples: list[Any]) -> Any:
        raise StopIteration

    loader = DataLoader(dataset(), 4, collate_fn=ends, num_workers=workers)
    with pytest.raises(RuntimeError, match="StopIteration"):
        list(loader)
    assert (loader.epoch, loader.state_dict()["step"]) == (0, 0)
