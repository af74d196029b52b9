"""NaN, infinity, no-data and classes through whole loaders: every target as `reference` has it."""

import json
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

import fastload_kernels.reference as reference
from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View
from fastload.recipe import holds_classes
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import assert_like_torch
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(120)
BATCH, SEED = 4, 5
ALL = ["S2L1C", "S1GRD", "LULC"]
VIEWS = (
    View(size=16, scale=(0.3, 1.0), d4=1.0, jitter=1.0, brightness=0.4, contrast=0.4, blur=0.5),
    View(size=9, scale=(0.3, 1.0), timestamp="all", gray=0.5, drop=0.5, interpolation="bicubic"),
    View(size=(12, 20), timestamp=1, hflip=0.5, interpolation="nearest"),
)
HOSTS = {"threads": DataLoader, "dali": DataLoader, "device": OnHost}


def pixels(number: int, modality: str) -> NDArray[Any]:
    """Pixels of which some say nothing: NaN, infinity and 0 in S1, 0 in S2; classes in LULC."""
    rng = np.random.default_rng([number, ALL.index(modality)])
    shape = (4, {"S2L1C": 3, "S1GRD": 2, "LULC": 1}[modality], 24, 24)
    if modality == "LULC":
        return rng.integers(0, 10, shape, np.uint8)
    image = make.pixels(f"{modality} {number}", shape)
    if modality == "S2L1C":
        image[rng.random(shape) < 0.05] = 0
        return image
    bands = (image / -20).astype(np.float16)
    for value in (np.nan, np.inf, -np.inf, 0) if number % 2 else ():
        bands[rng.random(shape) < 0.02] = value
    return bands


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def sample(number: int, modality: str) -> bytes:
        return make.zipped(make.group(pixels(number, modality), number=number))

    return make.write(tmp_path_factory.mktemp("data"), ALL, make=sample)


def radiometry(fill: float | None = None) -> dict[str, Radiometry]:
    return {
        "S2L1C": Radiometry.quantile(0.0, 3000.0),
        "S1GRD": Radiometry.standardise(fill=fill),
        "LULC": Radiometry.identity(),
    }


@pytest.fixture(params=HOSTS)
def loaded(request: pytest.FixtureRequest) -> Callable[..., DataLoader]:
    def load(data: SSL4EOS12, **more: Any) -> DataLoader:
        engine = "threads" if request.param == "device" else request.param
        return HOSTS[request.param](data, BATCH, seed=SEED, engine=engine, **more)

    return load


def all_of(loader: DataLoader) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(loader)


def samples_of(data: SSL4EOS12, ids: list[int]) -> dict[str, Any]:
    data.seed = SEED
    data.set_epoch(0)
    batch: dict[str, Any] = default_collate([data[i] for i in ids])
    return batch


@pytest.mark.parametrize("fill", [None, 0.0, -7.5])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a12_every_target_gives_what_the_dataset_gives(
    root: Path, reopen: Open, loaded: Any, dtype: Any, fill: float | None
) -> None:
    """Views and masks, with and without a fill, all dates and one."""
    recipe = Recipe(VIEWS, radiometry(fill), dtype, mask=True)
    data = reopen(root, modalities=ALL, recipe=recipe)
    spoilt = False
    for workers in (0, 2):
        for batch in all_of(loaded(data, num_workers=workers)):
            expected = samples_of(data, batch["index"].tolist())
            assert_like_torch(batch, expected, dtype, ALL)
            for name, (v, view) in product(ALL, enumerate(VIEWS)):
                mask = batch[f"{name}_mask"][v]
                lead = (len(batch["key"]), 4) if view.timestamp == "all" else (len(batch["key"]),)
                assert (mask.dtype, mask.shape) == (torch.bool, (*lead, *view.shape))
            spoilt |= not all(view.isfinite().all() for view in batch["S1GRD"])
    assert spoilt == (fill is None)


def test_masks_are_off_by_default_and_true_where_all_is_seen(root: Path, reopen: Open) -> None:
    data = reopen(root, modalities=ALL, recipe=Recipe(VIEWS, radiometry()))
    assert not any("mask" in name for name in (*data[0], *all_of(DataLoader(data))[0]))
    centre = Recipe((View(size=24, center=True, timestamp=2),), radiometry(), mask=True)
    data = data.with_recipe(centre)
    for i in range(len(data)):
        item, image = data[i], pixels(i, "S1GRD")[2].astype(np.float32)
        np.testing.assert_array_equal(
            item["S1GRD_mask"][0].numpy(), (np.isfinite(image) & (image != 0)).all(axis=0)
        )
        image = pixels(i, "S2L1C")[2]
        np.testing.assert_array_equal(item["S2L1C_mask"][0].numpy(), (image != 0).all(axis=0))


def counted(data: SSL4EOS12) -> list[int]:
    """What a loader over all samples shows, by `reference.count`."""
    assert data.recipe is not None
    total = np.zeros(3, np.int64)
    ids = np.arange(len(data))
    drawn, kept = data.draw(ids, SEED, 0), data.keep(ids, SEED, 0)
    for name, (v, view), i in product(data.modalities, enumerate(data.recipe.views), ids):
        bands = kept[name]
        keep = None if bands is None else bands[i, v]
        p, seen, keep = data.scalings[name].seen(drawn[i, v], view, keep)
        shown = data.stored_timestamps(name, int(p["timestamp"]))
        for image in data.read(name, int(i), shown):
            total += reference.count(image, p, seen, keep, data.modalities[name].fill_value)
    return total.tolist()


def test_a12_pixels_are_counted_on_every_target(root: Path, reopen: Open, loaded: Any) -> None:
    data = reopen(root, modalities=ALL, recipe=Recipe(VIEWS, radiometry()))
    loader = loaded(data, num_workers=2)
    all_of(loader)
    found = loader.stats()["pixels"]
    json.dumps(found)
    assert list(found) == ["nan", "infinite", "no_data"]
    assert list(found.values()) == counted(data)
    assert min(found.values()) > 0
    silent = loaded(data, count_pixels=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(silent)
    assert "pixels" not in silent.stats()


def test_replaced_samples_are_counted_once(tmp_path: Path, reopen: Open) -> None:
    """The S2 pixels that were shown before the S1 part turned out to be damaged do not count."""

    def sample(number: int, modality: str) -> bytes:
        content = bytearray(make.zipped(make.group(pixels(number, modality), number=number)))
        if (number, modality) == (3, "S1GRD"):
            content[600:2000] = bytes(1400)
        return bytes(content)

    where = make.write(tmp_path, ALL, make=sample)
    recipe = Recipe((View(size=24, center=True, timestamp=0),), radiometry())
    data = reopen(where, modalities=ALL, recipe=recipe)
    loader = DataLoader(data, BATCH, seed=SEED, on_error="replace", error_report=tmp_path / "e")
    shown = [i for batch in all_of(loader) for i in batch["index"].tolist()]
    assert loader.stats()["replaced"] == 1
    seen = [pixels(i, name)[0] for i in shown for name in ALL]
    assert 3 not in shown
    assert loader.stats()["pixels"]["nan"] == sum(int(np.isnan(x).sum()) for x in seen)
    assert loader.stats()["pixels"]["no_data"] == sum(int((x == 0).sum()) for x in seen)


def test_a12_one_warning_a_loader_names_the_first_sample(
    root: Path, reopen: Open, loaded: Any
) -> None:
    whole = Recipe((View(size=24, center=True, timestamp=0),), radiometry())
    data = reopen(root, modalities=ALL, recipe=whole)
    loader = loaded(data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        list(loader)
        list(loader)
    (message,) = (str(each.message) for each in said if "NaN" in str(each.message))
    assert message.startswith("S1GRD of sample 0000001 shows pixels that are NaN")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(loaded(data.with_recipe(Recipe(whole.views, radiometry(0.0)))))
        list(loaded(reopen(root, modalities=ALL[::2], recipe=whole)))


# --- A16: classes ---


def test_a16_classes_stay_classes_and_share_the_geometry(
    root: Path, reopen: Open, loaded: Any
) -> None:
    view = View(
        size=16, scale=(0.3, 1.0), d4=1.0, jitter=1.0, brightness=0.4, contrast=0.4, gray=0.5,
        blur=1.0, solarize=1.0, drop=1.0, interpolation="bicubic",
    )  # fmt: skip
    one = Recipe((view, view), Radiometry.quantile(0.0, 3000.0))
    data = reopen(root, modalities=["S2L1C", "LULC"], recipe=one)
    for batch in all_of(loaded(data)):
        ids = batch["index"].numpy()
        drawn = data.draw(ids, SEED, 0)
        for b, v in product(range(len(ids)), range(2)):
            p = drawn[b, v]
            image = pixels(int(ids[b]), "LULC")[p["timestamp"]]
            rows, columns = (
                start + np.floor((np.arange(16) + 0.5) * size / 16).astype(int)
                for start, size in ((p["top"], p["height"]), (p["left"], p["width"]))
            )
            expected = reference.flips(image[:, rows[:, None], columns], p)
            np.testing.assert_array_equal(batch["LULC"][v][b].numpy(), expected)


def test_a16_identity_is_for_every_modality_and_dtype(root: Path, reopen: Open) -> None:
    view = View(size=24, center=True, timestamp=0, jitter=1.0, contrast=1.0)
    for dtype, most in (("float32", None), ("float16", 2048), ("bfloat16", 256)):
        for name in ALL:
            recipe = Recipe((view,), Radiometry.identity(), dtype)
            data = reopen(root, modalities=[name], recipe=recipe)
            (batch,) = all_of(DataLoader(data, 6))
            for i in range(6):
                image = pixels(i, name)[0].astype(np.float32)
                held = np.full(image.shape, True) if most is None else np.abs(image) <= most
                held &= image == np.round(image) if name != "S1GRD" or most else True
                found = batch[name][0][i].float().numpy()
                np.testing.assert_array_equal(found[held], image[held])


def test_a16_where_one_radiometry_is_for_all_classes_take_identity() -> None:
    one = Recipe(VIEWS[:1], Radiometry.standardise())
    for name in ("LULC", "cloud_mask", "S2L2A/cloud_mask", "LULC/esri_original"):
        assert holds_classes(name)
        assert one.radiometry_of(name) == Radiometry.identity()
    for name in ("S2L2A", "DEM", "NDVI", "S1GRD", "LULCX", "cloud"):
        assert not holds_classes(name)
        assert one.radiometry_of(name) == Radiometry.standardise()
    own = {"LULC": Radiometry.quantile(0.0, 10.0)}
    assert Recipe(VIEWS[:1], own).radiometry_of("LULC") == own["LULC"]


def test_the_series_recipe_is_for_all_seven_modalities(tmp_path: Path, reopen: Open) -> None:
    """Published statistics for those that have some, classes as they are."""
    kinds = {"S2L2A": (12, "i2"), "S2L1C": (13, "i2"), "S2RGB": (3, "u1"), "S1GRD": (2, "f2"),
             "DEM": (1, "f4"), "NDVI": (1, "f4"), "LULC": (1, "u1")}  # fmt: skip

    def shown(number: int, modality: str) -> NDArray[Any]:
        C, dtype = kinds[modality]
        return make.pixels(f"{modality} {number}", (1, C, 24, 24), dtype)

    def sample(number: int, modality: str) -> bytes:
        return make.zipped(make.group(shown(number, modality), number=number))

    make.write(tmp_path, list(kinds), make=sample)
    recipe = Recipe.series(24, train=False)
    data = reopen(tmp_path, modalities=list(kinds), recipe=recipe)
    (batch,) = all_of(DataLoader(data, 6))
    published = {"NDVI": (0.327, 0.322), "DEM": (435.726, 560.326), "LULC": (0, 1)}
    for i, (name, (mean, std)) in product(range(6), published.items()):
        expected = (shown(i, name).astype(np.float64) - mean) / std
        np.testing.assert_allclose(batch[name][0][i], expected, rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="have no modality 'NDVI'"):
        reopen(tmp_path, modalities=["NDVI"], recipe=recipe, statistics="v1.0")


# --- what is refused ---


@pytest.mark.parametrize("fill", [np.nan, np.inf, -np.inf])
def test_a_fill_is_a_finite_number(fill: float) -> None:
    for make_one in (Radiometry.standardise, Radiometry.reflectance, Radiometry.identity):
        with pytest.raises(ValueError, match=r"Radiometry\.fill must be a finite number or None"):
            make_one(fill=fill)


def test_solarize_wants_a_fill_within_its_range_and_leaves_labels_alone() -> None:
    solar = (View(size=8, solarize=0.5),)
    Recipe(solar, {"S1GRD": Radiometry.two_sigma(fill=1.0), "LULC": Radiometry.identity()})
    with pytest.raises(ValueError, match=r"solarize is defined on .* and a fill within it"):
        Recipe(solar, Radiometry.two_sigma(fill=-1.0))


def test_interpolations_are_named() -> None:
    with pytest.raises(ValueError, match=r"'nearest', 'bilinear' or 'bicubic', got 'cubic'"):
        View(size=8, interpolation="cubic")  # type: ignore[arg-type]
