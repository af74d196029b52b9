"""How users read each layout today: whole files, by the archive's own library."""

import io
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
import zarr
from torch import Tensor
from torch.utils.data import Dataset

from benchmarks import workers as torch_workers
from benchmarks.data import REPEATS, read_zip
from benchmarks.measure import Stream

Item = Callable[[Any], Tensor]


def found(root: Path, pattern: str) -> list[Path]:
    """What there is by a pattern, without what this package keeps beside the data."""
    return [path for path in sorted(root.glob(pattern)) if not path.name.startswith("fastload")]


class Items(Dataset[Tensor]):
    """What a function makes of each of some things, over and over."""

    def __init__(self, things: Sequence[Any], item: Item, repeats: int = REPEATS) -> None:
        self.things, self.item, self.repeats = list(things), item, repeats

    def __len__(self) -> int:
        return len(self.things) * self.repeats

    def __getitem__(self, i: int) -> Tensor:
        return self.item(self.things[i % len(self.things)])


def pair_of(pixels: Any) -> Tensor:
    """Two dates ``[2, C, H, W]`` of ``[T, C, H, W]``, in the dtype as read."""
    T = len(pixels)
    chosen = torch.randint(T, (2,)).tolist()
    return torch.stack([torch.from_numpy(np.ascontiguousarray(pixels[t])) for t in chosen])


def zarr_file(path: Path) -> Tensor:
    """A file of 64 locations as the published reader has it: all of it; then two dates of each."""
    group = zarr.open_consolidated(zarr.ZipStore(str(path), mode="r"), mode="r")
    return torch.stack([pair_of(pixels) for pixels in group["bands"][...]])


def zarr_files(root: Path, modality: str, batch: int, workers: int) -> Stream:
    """Batches of whole files, as published: their samples are joined along the first axis."""
    files = sorted((root / "train" / modality).glob("*.zarr.zip"))
    yield from torch_workers.stream(Items(files, zarr_file), workers, batch_size=None)


def zarr_shards(root: Path, modality: str, batch: int, workers: int) -> Stream:
    """TerraMesh's way: webdataset, and zarr over the member in memory."""
    tars = sorted((root / "train" / modality).glob("*.tar"))
    dataset = (
        webdataset.WebDataset(
            [str(t) for t in tars] * REPEATS, shardshuffle=False, empty_check=False
        )
        .decode(_zip)
        .to_tuple("zarr.zip")
        .map_tuple(pair_of)
    )
    for [images] in torch_workers.stream(dataset, workers, batch_size=batch):
        yield images


def _zip(key: str, value: bytes) -> Any:
    return read_zip(value) if key.endswith("zarr.zip") else None


def pth_shards(root: Path, modality: str, batch: int, workers: int) -> Stream:
    """Copernicus-Pretrain's way: webdataset, `torch.load` of the cell, one patch of it."""
    tars = sorted(root.glob("*.tar"))
    dataset = (
        webdataset.WebDataset(
            [str(t) for t in tars] * REPEATS, shardshuffle=False, empty_check=False
        )
        .decode(_pth)
        .to_tuple(f"{modality}.pth")
        .map_tuple(_patch)
    )
    for [images] in torch_workers.stream(dataset, workers, batch_size=batch):
        yield images


def _pth(key: str, value: bytes) -> Any:
    return torch.load(io.BytesIO(value), weights_only=True) if key.endswith("pth") else None


def _patch(cell: Tensor) -> Tensor:
    return pair_of(cell[int(torch.randint(len(cell), ()))].numpy())


class Rasters:
    """Opens one file after the other with rasterio, as torchgeo's readers do, and brings bands on
    other grids to one size by nearest."""

    def __init__(self, size: int) -> None:
        self.size = size

    def scene(self, path: Path) -> Tensor:
        """A date ``[C, H, W]``, float32."""
        import rasterio

        files = [path] if path.is_file() else sorted(path.glob("*.tif"))
        images = []
        for name in files:
            with rasterio.open(name) as file:
                image = file.read(out_shape=(file.count, self.size, self.size))
                images.append(torch.from_numpy(image.astype(np.float32)))
        return torch.cat(images)

    def __call__(self, dates: Sequence[Path]) -> Tensor:
        """Two of a sample's dates ``[2, C, H, W]``."""
        chosen = torch.randint(len(dates), (2,)).tolist()
        return torch.stack([self.scene(dates[t]) for t in chosen])


class Trees:
    """A tree of GeoTIFFs, read scene by scene; a scene is a file with all bands or a folder."""

    def __init__(self, pattern: str, size: int, alone: bool = False) -> None:
        """`pattern` finds the scenes; those in one folder are a sample's dates, unless each is
        `alone`."""
        self.pattern, self.size, self.alone = pattern, size, alone

    def __call__(self, root: Path, modality: str, batch: int, workers: int) -> Stream:
        """Batches ``[B, 2, C, H, W]``, float32."""
        samples: dict[Path, list[Path]] = {}
        for path in found(root, self.pattern):
            samples.setdefault(path if self.alone else path.parent, []).append(path)
        items = Items([*samples.values()], Rasters(self.size))
        yield from torch_workers.stream(items, workers, batch_size=batch)


class Sample:
    """The image of a sample of torchgeo's, made anew in each process."""

    def __init__(self, make: Callable[..., Any], root: Path, options: dict[str, Any]) -> None:
        self.make, self.root, self.options = make, root, options
        self.dataset: Any = None

    def __call__(self, i: int) -> Tensor:
        """Sample i, float32."""
        if self.dataset is None:
            self.dataset = self.make(str(self.root), **self.options)
        image: Tensor = self.dataset[i]["image"]
        return image


class TorchGeo:
    """torchgeo's own dataset in torch's loader."""

    def __init__(self, name: str, pattern: str, **options: Any) -> None:
        """`name` of the class; `pattern` finds the samples, which are counted; its `options`."""
        self.name, self.pattern, self.options = name, pattern, options

    def __call__(self, root: Path, modality: str, batch: int, workers: int) -> Stream:
        """Batches of images."""
        import torchgeo.datasets

        count = len(found(root, self.pattern))
        item = Sample(getattr(torchgeo.datasets, self.name), root, self.options)
        yield from torch_workers.stream(Items(range(count), item), workers, batch_size=batch)


def has_torchgeo() -> bool:
    """Whether it is installed (group `peers`)."""
    return find_spec("torchgeo") is not None
