"""Tiny made data for the loader's tests, and ways to compare batches."""

import functools
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View
from fastload.engines.workers import THREAD_NAME
from fastload.synth import synth
from tests.tolerances import assert_close

LOCATIONS, PER_SHARD, TIMESTAMPS, SIZE = 21, 4, 4, 32
BOTH = ("S2L1C", "S1GRD")
ENGINES = ("threads", "dali")
REPOSITORY = Path(__file__).parents[2]


@functools.cache
def folder() -> tempfile.TemporaryDirectory[str]:
    """A folder that lives as long as the process."""
    return tempfile.TemporaryDirectory(prefix="fastload-tests-")


@functools.cache
def root(locations: int = LOCATIONS) -> Path:
    """Made data in shards of a few; the last one is short. Do not write there."""
    return synth(
        Path(folder().name) / str(locations),
        locations,
        modalities=BOTH,
        timestamps=TIMESTAMPS,
        size=SIZE,
        samples_per_shard=PER_SHARD,
        seed=1,
        workers=2,
    )


def dataset(
    recipe: Recipe | None = None,
    modalities: Sequence[str] = BOTH[:1],
    seed: int = 0,
    locations: int = LOCATIONS,
    path: Path | None = None,
) -> SSL4EOS12:
    """The made data as a dataset, whose ``dataset[i]`` is that of epoch 0."""
    found = SSL4EOS12(
        path or root(locations), modalities=modalities, recipe=recipe, seed=seed, progress=False
    )
    found.set_epoch(0)
    return found


def chunks(
    data: SSL4EOS12, sample: int, modality: str = "S2L1C", timestamps: Any = None
) -> NDArray[np.void]:
    """The chunks of some timestamps of a sample, all by default."""
    wanted = np.zeros((1, data.modalities[modality].timestamps), bool)
    wanted[0, slice(None) if timestamps is None else timestamps] = True
    row = data.row_of(modality, sample)
    return data.sources[modality].chunks(np.array([row]), wanted).rows


def file_of(data: SSL4EOS12, chunk: np.void, modality: str = "S2L1C") -> Path:
    """The file that holds a chunk."""
    source = data.sources[modality]
    return Path(source.store.path(source.files[chunk["file"]]))


def damaged(target: Path, sample: int, modality: str = "S2L1C") -> Path:
    """A copy of the data with one byte changed in each chunk of a sample."""
    shutil.copytree(root(), target)
    whole = dataset()
    for chunk in chunks(whole, sample, modality):
        shard = target / "train" / modality / file_of(whole, chunk, modality).name
        content = bytearray(shard.read_bytes())
        content[chunk["offset"] + chunk["stored"] // 2] ^= 0x10
        shard.write_bytes(content)
    return target


def moco(**more: Any) -> Recipe:
    """Two views with every augmentation."""
    view = View(
        size=16, scale=(0.2, 1.0), hflip=0.5, vflip=0.5, d4=0.5, jitter=0.8, brightness=0.4,
        contrast=0.4, gray=0.3, blur=0.5, solarize=0.3, drop=0.4,
    )  # fmt: skip
    return Recipe((view, view), Radiometry.two_sigma(), **more)


def indices(loader: Iterable[dict[str, Any]]) -> list[list[int]]:
    """Sample ids of each batch."""
    return [batch["index"].tolist() for batch in loader]


def flat(lists: Iterable[list[Any]]) -> list[Any]:
    """Lists joined into one."""
    return [x for part in lists for x in part]


def global_batches(
    data: SSL4EOS12,
    world_size: int,
    batch_size: int,
    state: dict[str, Any] | None = None,
    **arguments: Any,
) -> list[list[int]]:
    """Sample ids of each global batch in the order of the slice, put together from all ranks."""
    ranks = []
    for rank in range(world_size):
        loader = DataLoader(data, batch_size, rank=rank, world_size=world_size, **arguments)
        if state is not None:
            loader.load_state_dict(state)
        ranks.append(indices(loader))
    assert len({len(r) for r in ranks}) == 1
    together = []
    for parts in zip(*ranks, strict=True):
        assert len({len(p) for p in parts}) == 1
        together.append(np.array(parts).T.ravel().tolist())
    return together


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in nested dicts and lists, with the way there."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    else:
        yield path, value
    for key, part in items:
        yield from leaves(part, f"{path}/{key}")


def assert_same(actual: Any, expected: Any) -> None:
    """Two batches, or lists of them: bit for bit, and laid out alike."""
    mine, theirs = dict(leaves(actual)), dict(leaves(expected))
    assert list(mine) == list(theirs)
    for path, value in mine.items():
        other = theirs[path]
        assert type(value) is type(other), path
        if not isinstance(value, torch.Tensor):
            assert value == other, path
            continue
        assert (value.dtype, value.shape) == (other.dtype, other.shape), path
        assert value.stride() == other.stride(), path
        a, b = (x.contiguous().flatten().view(torch.uint8) for x in (value, other))
        assert torch.equal(a, b), path


def assert_like_torch(actual: Any, expected: Any, dtype: str, pixels: Sequence[str]) -> None:
    """A batch against torch's of ``dataset[i]``: pixels by tolerance, all the rest exactly."""
    mine, theirs = dict(leaves(actual)), dict(leaves(expected))
    assert sorted(mine) == sorted(theirs)
    for path, value in mine.items():
        other = theirs[path]
        assert type(value) is type(other), path
        if not isinstance(value, torch.Tensor):
            assert value == other, path
            continue
        assert (value.dtype, value.shape) == (other.dtype, other.shape), path
        if path.split("/")[1] in pixels and value.is_floating_point():
            assert_close(value, other, dtype)
        else:
            assert torch.equal(value, other), path


def workers_alive() -> list[str]:
    """Names of the loaders' threads."""
    return [t.name for t in threading.enumerate() if t.name.startswith(THREAD_NAME)]
