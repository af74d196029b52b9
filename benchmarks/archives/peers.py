"""How users read each layout today: whole files, by the archive's own library."""

import io
from collections.abc import Callable, Iterator, Sequence
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


def rasters(folders: Sequence[Sequence[Path]], size: int) -> Item:
    """What opens one file after the other with rasterio, as torchgeo's readers do: bands on other
    grids are brought to `size` by nearest."""
    import rasterio

    def scene(path: Path) -> Tensor:
        files = [path] if path.is_file() else sorted(path.glob("*.tif"))
        images = []
        for name in files:
            with rasterio.open(name) as file:
                image = file.read(out_shape=(file.count, size, size))
                images.append(torch.from_numpy(image.astype(np.float32)))
        return torch.cat(images)

    def item(dates: Sequence[Path]) -> Tensor:
        chosen = torch.randint(len(dates), (2,)).tolist()
        return torch.stack([scene(dates[t]) for t in chosen])

    return item


class Trees:
    """A tree of GeoTIFFs, read scene by scene."""

    def __init__(self, pattern: str, size: int, depth: int = 1) -> None:
        """`pattern` finds the scenes; those with the same folder, `depth` above, are a sample's."""
        self.pattern, self.size, self.depth = pattern, size, depth

    def __call__(self, root: Path, modality: str, batch: int, workers: int) -> Stream:
        """Batches ``[B, 2, C, H, W]``, float32."""
        samples: dict[Path, list[Path]] = {}
        for path in sorted(root.glob(self.pattern)):
            samples.setdefault(path.parents[self.depth - 1], []).append(path)
        if self.depth == 0:
            raise ValueError("depth must be at least 1")
        items = Items([*samples.values()], rasters([], self.size))
        yield from torch_workers.stream(items, workers, batch_size=batch)


def torchgeos(make: Callable[[Path], Any]) -> Any:
    """torchgeo's own reader, in torch's loader."""

    def stream(root: Path, modality: str, batch: int, workers: int) -> Stream:
        dataset = make(root)
        items = Items(range(len(dataset)), lambda i: dataset[i]["image"])
        yield from torch_workers.stream(items, workers, batch_size=batch)

    return stream


def endless(batches: Iterator[Any]) -> Iterator[Any]:
    """As they come."""
    yield from batches
