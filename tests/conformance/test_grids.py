"""Modalities on other grids share a crop, on every engine."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fastload
from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View
from fastload.datasets.base import Dataset
from fastload.engines.dali import has_dali
from fastload.statistics import statistics
from tests.conformance import toys
from tests.conformance.test_ragged import loads
from tests.conformance.toy import Memory, Npy
from tests.fastload import shardmaker
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(60)
KIND = Radiometry.quantile(-10, 4100)
VIEWS = (
    View(size=12, scale=(0.2, 1.0), d4=1.0, jitter=1.0, contrast=0.4, blur=0.5),
    View(size=(12, 15), hflip=0.5, vflip=0.5),
    View(size=8, timestamp="all", center=True),
)
RECIPES = {
    "float32": Recipe(VIEWS, {"fine": KIND, "coarse": KIND, "map": Radiometry.identity()}),
    "masks": Recipe(VIEWS, KIND, mask=True),
    "float16, channels-last": Recipe(VIEWS, KIND, dtype="float16", channels_last=True),
}


class Made(Npy):
    """Arrays ``[N, T, C, H, W]`` as a modality, in memory."""

    def __init__(self, name: str, pixels: Any, ground: tuple[float, float] | None = None) -> None:
        files = {f"{i:03d}.npy": toys.file(some) for i, some in enumerate(pixels)}
        super().__init__(name, Memory(name, files))
        self.modality = replace(self.modality, ground=ground)


def ramp(size: tuple[int, int], N: int = 6, T: int = 2, ground: float = 1.0) -> Any:
    """Pixels ``[N, T, 2, H, W]`` that say where on the ground they lie, in 1/10000 about the
    centre of what another image covers; `ground` is how much more this one covers."""
    axes = [((np.arange(n) + 0.5) / n - 0.5) * 10000 * ground for n in size]
    y, x = np.meshgrid(*axes, indexing="ij")
    return np.broadcast_to(np.stack([y, x]), (N, T, 2, *size)).astype(np.int16)


def noise(size: tuple[int, int], T: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 4000, (6, T, 2, *size)).astype(np.int16)


def three(recipe: Recipe | None, **options: Any) -> Dataset:
    """A fine grid, a coarse one, and a finer one of a single date, of the same ground."""
    sources = {
        "fine": Made("fine", noise((24, 30), 2, 0)),
        "coarse": Made("coarse", noise((8, 15), 2, 1)),
        "map": Made("map", noise((50, 60), 1, 2)),
    }
    return Dataset(sources, recipe, statistics("v1.1-webdataset"), 3, **options)


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_engine_gives_what_the_dataset_gives(recipe: str, loader: type[DataLoader]) -> None:
    data = three(RECIPES[recipe], same_ground=True)
    loads(data, loader)
    if has_dali() and recipe == "float32":
        loads(data, loader, "dali")


def test_a_device_draws_for_all_grids() -> None:
    """Where all have as many dates, nothing of a draw is known on the host."""
    sources = {name: three(None).sources[name] for name in ("fine", "coarse")}
    data = Dataset(sources, RECIPES["masks"], statistics("v1.1-webdataset"), 3, same_ground=True)
    loads(data, OnHost)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("more", [1.0, 3.0])
def test_a_crop_shows_the_same_ground(swapped: bool, more: float) -> None:
    """Views of both are within half a pixel of the coarser, however they are cropped and turned."""
    fine, coarse = (48, 48), (16, 16)
    sizes = (coarse, fine) if swapped else (fine, coarse)
    if swapped and more > 1:
        pytest.skip("crops are drawn where the least is covered")
    sources = {
        "a": Made("a", ramp(sizes[0]), (2640.0, 2640.0)),
        "b": Made("b", ramp(sizes[1], ground=more), (2640.0 * more, 2640.0 * more)),
    }
    view = View(size=12, scale=(0.3, 1.0), d4=1.0)
    plain = View(size=(12, 9), hflip=0.5)
    recipe = Recipe((view, plain), Radiometry.standardise(mean=0.0, std=1.0))
    data = Dataset(sources, recipe, statistics("v1.1-webdataset"), 1)
    half = 5000 * max(1 / sizes[0][0], more / sizes[1][0])
    middle = np.s_[:, 4:8, 3:6]  # where no tap is held at an edge of the crop
    for batch in DataLoader(data, 6, seed=1, num_workers=0):
        for a, b in zip(batch["a"], batch["b"], strict=True):
            assert a.shape == b.shape
            for mine, theirs in zip(a, b, strict=True):
                assert (mine[middle] - theirs[middle]).abs().max() <= half + 2


def test_what_is_not_known_is_refused() -> None:
    """The sentence names the option; raw pixels need none."""
    raw = three(None)
    loads(raw, DataLoader)
    with pytest.raises(ValueError, match=r"must agree in size.*'coarse': \(8, 15\).*same_ground="):
        raw.with_recipe(RECIPES["float32"])
    known = {
        "fine": Made("fine", noise((24, 24), 2, 0), (240.0, 240.0)),
        "coarse": Made("coarse", noise((8, 8), 2, 1)),
    }
    with pytest.raises(ValueError, match="must agree in size"):
        Dataset(known, RECIPES["masks"], statistics("v1.1-webdataset"), 0)
    raw.same_ground = True
    loads(raw.with_recipe(RECIPES["float32"]), DataLoader)


def test_less_ground_than_the_first_is_refused() -> None:
    """But for half a pixel at each edge, of the coarser."""

    def of(ground: float) -> Dataset:
        sources = {
            "S2": Made("S2", noise((24, 24), 2, 0), (240.0, 240.0)),
            "S3": Made("S3", noise((8, 8), 2, 1), (ground, ground)),
        }
        return Dataset(sources, RECIPES["masks"], statistics("v1.1-webdataset"), 0)

    for ground in (180.0, 24.0):
        with pytest.raises(ValueError, match=r"S3 covers .* less than S2, .* name the modality fi"):
            of(ground)
    for ground in (216.0, 240.0, 2400.0):
        loads(of(ground), DataLoader)
    for wrong in (0.0, -3.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="S3: ground must be metres above 0"):
            of(wrong)


def test_the_same_pixels_of_other_ground_are_another_grid() -> None:
    sources = {
        "patch": Made("patch", noise((24, 24), 2, 0), (240.0, 240.0)),
        "cell": Made("cell", noise((24, 24), 2, 1), (960.0, 960.0)),
    }
    recipe = Recipe((View(size=24),), KIND)
    data = Dataset(sources, recipe, statistics("v1.1-webdataset"), 0)
    whole = np.asarray(data.draw(np.arange(1), 0, 0)[0, 0])
    box = data.drawn_on("cell", whole)
    assert (box["top"], box["height"]) == (9, 6)
    loads(data, OnHost)


def test_joined_datasets_keep_what_ground_they_cover() -> None:
    a, b = (three(RECIPES["masks"], same_ground=True) for _ in range(2))
    loads(fastload.concat(a, b), DataLoader)
    grounds = [(240.0, 240.0), (250.0, 250.0)]
    parts = [
        Dataset({"x": Made("x", noise((24, 24), 2, 0), g)}, None, a.statistics, 0) for g in grounds
    ]
    with pytest.raises(ValueError, match=r"concat: x differs in ground"):
        fastload.concat(*parts)
    assert fastload.concat(parts[0], parts[0]).modalities["x"].ground == grounds[0]


def test_modalities_of_ssl4eo_s12_cover_the_same(tmp_path: Path) -> None:
    """Bands at 10 m beside others at 30 m just work."""
    for name, size in (("S2L2A", 24), ("NDVI", 8)):

        def sample(number: int, _: str, size: int = size, name: str = name) -> bytes:
            pixels = shardmaker.pixels(f"{name} {number}", (4, 3, size, size))
            return shardmaker.zipped(shardmaker.group(pixels, number=number))

        shardmaker.write(tmp_path, modalities=(name,), make=sample)
    recipe = Recipe((View(size=16, d4=1.0), View(size=8, scale=(0.2, 1.0))), KIND)
    data = SSL4EOS12(tmp_path, modalities=["S2L2A", "NDVI"], recipe=recipe, progress=False)
    loads(data, DataLoader)
    batch = next(iter(DataLoader(data, 4)))
    assert [v.shape[-2:] for v in batch["NDVI"]] == [torch.Size([16, 16]), torch.Size([8, 8])]
