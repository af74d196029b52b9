"""What is recorded, by the loader's public names alone, so that old and new code run the same."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import RandomSampler

from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View

DATA = Path(__file__).parent / "data"
BOTH = ("S2L1C", "S1GRD")
WAYS = (("threads", 0), ("threads", 2), ("dali", 2))
"""Engines and workers; they all give the same batches."""
BAD = 5
"""The sample that is damaged in a copy of the data."""
OWN_ORDER = {"batch_size": 4, "shuffle": True, "seed": 6}


def moco(**more: Any) -> Recipe:
    """Two views with every augmentation."""
    view = View(
        size=16, scale=(0.2, 1.0), hflip=0.5, vflip=0.5, d4=0.5, jitter=0.8, brightness=0.4,
        contrast=0.4, gray=0.3, blur=0.5, solarize=0.3, drop=0.4,
    )  # fmt: skip
    return Recipe((view, view), Radiometry.two_sigma(), **more)


def policies(**more: Any) -> Recipe:
    """A view of every timestamp policy."""
    ways = ("independent", "same", "same", "distinct", "distinct", "distinct", "all", 0, 3)
    views = tuple(View(size=12, scale=(0.3, 1.0), d4=0.5, timestamp=way) for way in ways)
    return Recipe(views, Radiometry.standardise(), **more)


def plain(dtype: Any, **more: Any) -> Recipe:
    """Crops without resampling, bicubic resampling, uneven sizes."""
    views = (
        View(size=(20, 9)),
        View(size=(8, 24), scale=(0.1, 0.6), interpolation="bicubic", ratio_law="uniform"),
        View(size=32, center=True, drop=1.0, drop_bands=(1, 20)),
    )
    return Recipe(views, Radiometry.two_sigma(), dtype=dtype, **more)


def series(**more: Any) -> Recipe:
    """One view of all timestamps."""
    return Recipe((View(size=24, timestamp="all", d4=1.0),), Radiometry.standardise(), **more)


def two_limits() -> Recipe:
    """Another radiometry for each modality."""
    kinds = {"S2L1C": Radiometry.reflectance(), "S1GRD": Radiometry.quantile(-30, 5)}
    return Recipe((View(size=16, scale=(0.5, 1.0)),), kinds)


def random_sampler(data: SSL4EOS12) -> dict[str, Any]:
    """A user's sampler with a generator of its own."""
    sampler = RandomSampler(data, generator=torch.Generator().manual_seed(3))
    return {"batch_size": 4, "sampler": sampler, "seed": 6}


def batch_lists(data: SSL4EOS12) -> dict[str, Any]:
    """Uneven batches that a user lists."""
    return {"batch_sampler": [[0, 9, 3], [10, 5], [7, -1, 1, 2], [4]], "seed": 6}


@dataclass(frozen=True)
class Case:
    """A loader: its data, recipe and arguments."""

    modalities: tuple[str, ...]
    recipe: Recipe | None
    more: Mapping[str, Any] = field(default_factory=dict)
    chosen: Callable[[SSL4EOS12], dict[str, Any]] | None = None
    damaged: bool = False

    def dataset(self, root: Path) -> SSL4EOS12:
        """The data in `root` as this case sees them."""
        return SSL4EOS12(root, modalities=self.modalities, recipe=self.recipe, progress=False)

    def loader(self, data: SSL4EOS12, engine: Any, workers: int, report: Path) -> DataLoader:
        """The loader over the data, with a file for errors."""
        arguments = {**OWN_ORDER, **self.more} if self.chosen is None else self.chosen(data)
        return DataLoader(
            data, num_workers=workers, engine=engine, error_report=report, **arguments
        )


def ranked(rank: int) -> Case:
    """One of two ranks that share global batches of four."""
    return Case(BOTH[:1], moco(), {"batch_size": 2, "rank": rank, "world_size": 2})


RECIPES: dict[str, Case] = {
    "raw": Case(BOTH[:1], None),
    "raw, half floats first": Case(BOTH[::-1], None),
    "moco": Case(BOTH[:1], moco()),
    "moco, both": Case(BOTH, moco()),
    "moco, both, float16, channels-last": Case(BOTH, moco(dtype="float16", channels_last=True)),
    "moco, bfloat16": Case(BOTH[1:], moco(dtype="bfloat16")),
    "series": Case(BOTH[:1], Recipe.series(24)),
    "series, both, channels-last": Case(BOTH, series(channels_last=True)),
    "policies": Case(BOTH, policies()),
    "policies, float16": Case(BOTH[1:], policies(dtype="float16")),
    "plain": Case(BOTH, plain("float32")),
    "plain, float16": Case(BOTH[:1], plain("float16")),
    "plain, bfloat16, channels-last": Case(BOTH, plain("bfloat16", channels_last=True)),
    "two limits": Case(BOTH, two_limits()),
}
ORDERS: dict[str, Case] = {
    "in order": Case(BOTH[:1], moco(), {"shuffle": False}),
    "drop last": Case(BOTH[:1], moco(), {"drop_last": True}),
    "window of two shards": Case(BOTH[:1], moco(), {"shuffle_window": 2}),
    "rank 0 of 2": ranked(0),
    "rank 1 of 2": ranked(1),
    "sampler": Case(BOTH[:1], moco(), chosen=random_sampler),
    "batch sampler": Case(BOTH[:1], moco(), chosen=batch_lists),
}
DAMAGED: dict[str, Case] = {
    "replaced, raw": Case(BOTH, None, {"on_error": "replace"}, damaged=True),
    "replaced, moco": Case(BOTH, moco(), {"on_error": "replace"}, damaged=True),
}
CASES = RECIPES | ORDERS | DAMAGED

STATES: dict[str, tuple[str, int, tuple[str, ...]]] = {
    **{f"moco after {n}": ("moco", n, ("moco",)) for n in range(5)},
    "raw after 2": ("raw", 2, ("raw",)),
    "drop last after 2": ("drop last", 2, ("drop last",)),
    "window after 1": ("window of two shards", 1, ("window of two shards",)),
    "sampler after 1": ("sampler", 1, ("sampler",)),
    "batch sampler after 3": ("batch sampler", 3, ("batch sampler",)),
    "batch sampler after 4": ("batch sampler", 4, ("batch sampler",)),
    "replaced after 1": ("replaced, raw", 1, ("replaced, raw",)),
    "one rank after 1, by two": ("moco", 1, ("rank 0 of 2", "rank 1 of 2")),
    "one rank after 3, by two": ("moco", 3, ("rank 0 of 2", "rank 1 of 2")),
    "two ranks after 2, by one": ("rank 1 of 2", 2, ("moco", "rank 0 of 2")),
}
"""Whose state, after how many batches, and which cases go on from it."""


def processor() -> dict[str, Any]:
    """What the last bits of resampled pixels depend on: the machine, the lanes of a vector."""
    kernels = View.__module__.split(".")[0]  # the package had another name
    lanes = import_module(f"{kernels}.lanes").LANES
    return {"machine": platform.machine(), "lanes": lanes}


class Runs:
    """The cases over copies of the data, made in a folder that is the caller's to delete."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.reports = folder, 0
        self.datasets: dict[str, SSL4EOS12] = {}
        for name in ("sound", "damaged"):
            shutil.copytree(DATA, folder / name)
        damage(folder / "damaged")

    def _open(self, name: str, engine: str, workers: int) -> tuple[DataLoader, Path]:
        case, report = CASES[name], self.folder / f"errors {self.reports}.jsonl"
        self.reports += 1
        if name not in self.datasets:
            root = self.folder / ("damaged" if case.damaged else "sound")
            self.datasets[name] = case.dataset(root)
        return case.loader(self.datasets[name], engine, workers, report), report

    def run(self, name: str, engine: str, workers: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """What is recorded of a case's first two epochs, and pixels of its very first sample."""
        loader, report = self._open(name, engine, workers)
        epochs, first = [], {}
        for _ in range(2):
            epochs.append([])
            for batch in loader:
                first = first or pixels_of(batch, CASES[name].modalities)
                epochs[-1].append(described(batch))
        return {"length": len(loader), "epochs": epochs, "errors": errors(report)}, first

    def state(self, name: str, engine: str, workers: int) -> dict[str, Any]:
        """The state of a loader after some batches, as a file would bring it back."""
        case, delivered, _ = STATES[name]
        loader, _ = self._open(case, engine, workers)
        left = delivered
        while left:
            for _ in loader:
                left -= 1
                if not left:
                    return json.loads(json.dumps(loader.state_dict()))
        return json.loads(json.dumps(loader.state_dict()))

    def length(self, name: str) -> int:
        """Steps in an epoch of the case whose state has a name."""
        return len(self._open(STATES[name][0], "threads", 0)[0])

    def resumed(
        self, case: str, state: dict[str, Any], engine: str, workers: int
    ) -> dict[str, Any]:
        """The rest of the state's epoch, the first batch of the next one, and the state there."""
        loader, _ = self._open(case, engine, workers)
        loader.load_state_dict(state)
        epochs = [[described(b) for b in loader], [described(b) for b in islice(loader, 1)]]
        return {"epochs": epochs, "state": json.loads(json.dumps(loader.state_dict()))}


def errors(report: Path) -> list[dict[str, Any]]:
    """Lines of an error report without what differs from run to run."""
    kept = ("epoch", "index", "member", "offset", "replaced_by")
    lines = map(json.loads, report.read_text().splitlines()) if report.exists() else ()
    return [{name: line[name] for name in kept} for line in lines]


def damage(root: Path) -> None:
    """Change one byte in the middle of each chunk of a sample."""
    for modality in BOTH:
        at = 0
        for shard in sorted((root / "train" / modality).glob("*.tar")):
            content = bytearray(shard.read_bytes())
            with tarfile.open(shard) as tar:
                members = [m for m in tar.getmembers() if m.name.endswith(".zarr.zip")]
            if at <= BAD < at + len(members):
                member = members[BAD - at]
                for place in middles(content[member.offset_data :][: member.size]):
                    content[member.offset_data + place] ^= 0x10
                shard.write_bytes(content)
            at += len(members)


def middles(archive: bytes) -> Iterator[int]:
    """Where in a zip the middle of each chunk of pixels lies."""
    header = 30
    for info in zipfile.ZipFile(io.BytesIO(archive)).infolist():
        folder, _, name = info.filename.rpartition("/")
        if folder == "bands" and not name.startswith("."):
            name_and_extra = archive[info.header_offset + 26 :][:4]
            lengths = np.frombuffer(name_and_extra, "<u2").sum()
            yield info.header_offset + header + int(lengths) + info.compress_size // 2


def described(batch: Mapping[str, Any]) -> dict[str, str]:
    """A batch as text: each tensor's dtype, shape, stride, and its values or a digest of them."""
    return {path: text_of(path, value) for path, value in leaves(batch)}


def text_of(path: str, value: Any) -> str:
    """One leaf of a batch as text; its last word is the values or their digest."""
    if not isinstance(value, torch.Tensor):
        return f"{type(value).__name__} {value}"
    kind = str(value.dtype).removeprefix("torch.")
    if path == "index":
        values = ",".join(map(str, value.tolist()))
    else:
        content = value.contiguous().flatten().view(torch.uint8).numpy().tobytes()
        values = hashlib.blake2b(content, digest_size=8).hexdigest()
    shape, stride = (",".join(map(str, sizes)) for sizes in (value.shape, value.stride()))
    return f"{kind} [{shape}] [{stride}] {values}"


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """All that a batch holds, with the way there; a list of strings is one leaf."""
    items: Iterable[tuple[Any, Any]]
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple) and not isinstance(value[0], str):
        items = enumerate(value)
    else:
        yield path, value
        return
    for key, part in items:
        yield from leaves(part, f"{path}/{key}" if path else str(key))


def pixels_of(batch: Mapping[str, Any], modalities: Iterable[str]) -> dict[str, Any]:
    """Pixels of a batch's first sample; bfloat16, which NumPy lacks, as float32."""
    found = {}
    for path, value in leaves({name: batch[name] for name in modalities}):
        first = value[0].contiguous()
        found[path] = (first.float() if first.dtype == torch.bfloat16 else first).numpy()
    return found
