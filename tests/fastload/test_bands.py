"""A choice of bands by name, seen alike by everything that shows pixels (D: choice of bands)."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr

from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View
from fastload.bands import PUBLISHED, by_modality, names_of, pick, plain
from fastload.statistics import Statistics, statistics
from fastload_kernels import draw_bands
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import BOTH, assert_like_torch, assert_same, chunks
from tests.fastload.made import dataset as made_dataset
from tests.fastload.made import root as made_root
from tests.fastload.twin import OnHost

pytestmark = pytest.mark.timeout(120)
RGB = ["B04", "B03", "B02"]
CHOICES = {"S2L1C": ["B8A", "B2", "b11", "B04"], "S1GRD": ["VH"]}
PLACES = {"S2L1C": [8, 1, 11, 3], "S1GRD": [1]}


# --- names ---


@pytest.mark.parametrize(
    ("one", "other"),
    [("B4", "B04"), ("b08", "B8"), ("VV", "vv"), ("B8a", "B8A"), ("B012", "B12"), (" red", "Red")],
)
def test_names_that_are_the_same(one: str, other: str) -> None:
    assert plain(one) == plain(other)


@pytest.mark.parametrize(("one", "other"), [("B8", "B8A"), ("B1", "B10"), ("VV", "VH")])
def test_names_that_differ(one: str, other: str) -> None:
    assert plain(one) != plain(other)


def test_the_published_names() -> None:
    assert len(PUBLISHED["S2L1C"]) == 13
    assert [n for n in PUBLISHED["S2L1C"] if n != "B10"] == list(PUBLISHED["S2L2A"])
    assert PUBLISHED["S2L1C"].index("B8A") == 8
    assert PUBLISHED["S2L1C"].index("B10") == 10
    for names in PUBLISHED.values():
        assert len({plain(n) for n in names}) == len(names)


def test_the_files_names_come_first() -> None:
    assert names_of("S2RGB", ["B04", "B03", "B02"], 3) == ("B04", "B03", "B02")
    assert names_of("S2RGB", [], 3) == ("R", "G", "B")
    assert names_of("S2L2A", [], 13) == ()
    assert names_of("DEM", [], 1) == ()


def test_all_bands_in_their_order_are_no_choice() -> None:
    names = ("B01", "B02", "B8A")
    assert pick(["B1", "B2", "b8a"], names, "x") is None
    assert pick(None, names, "x") is None
    assert pick(["B8A", "B1", "B2"], names, "x") == (2, 0, 1)


@pytest.mark.parametrize(
    ("asked", "names", "words"),
    [
        (["B4", "B13"], ("B04", "B05"), r"bands of x: expected names of \['B04', 'B05'\], got"),
        (["B4", "B04"], ("B04", "B05"), "bands of x must differ"),
        ([], ("B04",), "must be a list of names, got"),
        ("B04", ("B04",), "must be a list of names, got 'B04'"),
        ([3], ("B04",), "must be a list of names"),
        (["B04"], (), "neither the files nor the package know their names"),
        (["B04"], ("B4", "B04"), "expected names of"),
    ],
)
def test_choices_that_make_no_sense(asked: Any, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        pick(asked, names, "x")


def test_one_list_is_of_one_modality() -> None:
    assert by_modality(RGB, ["S2L2A"]) == {"S2L2A": RGB}
    assert by_modality({"S2L2A": RGB}, ["S1GRD", "S2L2A"]) == {"S1GRD": None, "S2L2A": RGB}
    with pytest.raises(ValueError, match="one list for 2 modalities; expected a mapping by name"):
        by_modality(RGB, ["S2L2A", "S1GRD"])
    with pytest.raises(ValueError, match=r"\['S2L1C'\] are not among the modalities \['S2L2A'\]"):
        by_modality({"S2L1C": RGB}, ["S2L2A"])


# --- datasets ---


def chosen(recipe: Recipe | None = None, seed: int = 0, **more: Any) -> Any:
    found = SSL4EOS12(
        made_root(),
        modalities=BOTH,
        recipe=recipe,
        bands=CHOICES,
        seed=seed,
        progress=False,
        **more,
    )
    found.set_epoch(0)
    return found


def test_items_hold_the_bands_in_the_order_asked_for() -> None:
    whole, ds = made_dataset(modalities=BOTH), chosen()
    assert ds.modalities["S2L1C"].band_names == ("B8A", "B02", "B11", "B04")
    assert ds.modalities["S1GRD"].band_names == ("vh",)
    assert (ds.modalities["S2L1C"].bands, ds.modalities["S2L1C"].stored_bands) == (4, 13)
    for i in (0, 5, 20):
        for name, places in PLACES.items():
            expected = whole.read(name, i)[:, places]
            assert torch.equal(ds[i][name], torch.from_numpy(expected))
            np.testing.assert_array_equal(ds.read(name, i, [2, 0]), expected[[2, 0]])


def test_an_unknown_band_is_refused_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"bands of S1GRD in .*S1GRD: expected names of \['vv'"):
        SSL4EOS12(made_root(), modalities=["S1GRD"], bands=["B04"], progress=False)


AUGMENTED = Recipe(
    (
        View(size=16, scale=(0.2, 1.0), d4=0.5, jitter=0.8, contrast=0.4, brightness=0.4, gray=0.3,
             blur=0.5, drop=0.6),
        View(size=16, timestamp="all", drop=0.6),
    ),
    Radiometry.two_sigma(),
)  # fmt: skip


@pytest.mark.parametrize("loader", [DataLoader, OnHost], ids=["host", "device"])
@pytest.mark.parametrize("recipe", [None, AUGMENTED], ids=["raw", "views"])
@pytest.mark.parametrize("workers", [0, 2])
def test_every_engine_shows_them(
    engine: Any, loader: type[DataLoader], recipe: Recipe | None, workers: int
) -> None:
    """Batches are those that torch makes of `dataset[i]`, whose bands are those of all bands."""
    ds = chosen(recipe, seed=3)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*decoded on the CPU")
        found = loader(ds, 4, shuffle=True, num_workers=workers, seed=3, engine=engine)
        batches = list(found)
    expected = torch.utils.data.DataLoader(ds, 4, sampler=found.order(0).tolist())
    for mine, theirs in zip(batches, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", () if recipe is None else BOTH)


def test_the_device_says_that_the_host_decodes_them() -> None:
    with pytest.warns(UserWarning, match="shows a choice of its bands, decoded on the CPU") as said:
        next(iter(OnHost(chosen(), 2)))
    assert [str(w.message).split()[0] for w in said] == list(BOTH)


def test_radiometries_are_of_the_chosen_bands() -> None:
    """Statistics of all bands, and numbers and limits of the chosen ones."""
    whole = statistics("v1.1-webdataset")
    for kind in ("standardise", "two_sigma"):
        recipe = Recipe((View(size=8),), getattr(Radiometry, kind)())
        every, some = made_dataset(recipe, BOTH).scalings, chosen(recipe).scalings
        for name, places in PLACES.items():
            for part in ("offset", "scale", "low", "high"):
                expected = getattr(every[name], part)[places]
                np.testing.assert_array_equal(getattr(some[name], part), expected)
    four = Recipe(
        (View(size=8),),
        {
            "S2L1C": Radiometry.standardise((1.0, 2.0, 3.0, 4.0), 1.0),
            "S1GRD": Radiometry.quantile((-20.0,), (0.0,)),
        },
    )
    assert chosen(four).scalings["S2L1C"].offset.tolist() == [1, 2, 3, 4]
    assert whole.of("S2L1C", 13)[0][8] == chosen(AUGMENTED).statistics.mean["S2L1C"][8]


def test_named_statistics_serve_any_choice(tiny: Path, reopen: Open) -> None:
    own = Statistics(
        "own", 0.0, {"S2L1C": (5.0, 6.0)}, {"S2L1C": (1.0, 2.0)}, {"S2L1C": ("B2", "B0")}
    )
    recipe = Recipe((View(size=8),), Radiometry.standardise())
    ds = reopen(tiny, recipe=recipe, statistics=own, bands=["B00", "B02"])
    assert ds.scalings["S2L1C"].offset.tolist() == [6.0, 5.0]
    with pytest.raises(ValueError, match=r"in statistics 'own': expected names of \['B2', 'B0'\]"):
        reopen(tiny, recipe=recipe, statistics=own, bands=["B01"])


@pytest.mark.parametrize("asked", [None, ["B8A", "B12"]])
def test_named_sets_follow_files_in_another_order(
    tmp_path: Path, reopen: Open, asked: list[str] | None
) -> None:
    """As EuroSAT's, where B8A comes last: each band is standardised by its own numbers."""
    names = [n for n in PUBLISHED["S2L1C"] if n != "B8A"] + ["B8A"]
    group = zarr.group(store={})
    members = make.group(make.pixels("x", (4, 13, 24, 24)), consolidated=False)
    group.create_dataset("band", data=np.array(names))
    named = {n: bytes(c) for n, c in group.store.items() if n.startswith("band/")}
    kept = {n: c for n, c in members.items() if not n.startswith("band/")}
    make.write_tar(make.shard(tmp_path), {"1": make.zipped(kept | named)})
    recipe = Recipe((View(size=8),), Radiometry.standardise())
    ds = reopen(tmp_path, recipe=recipe, bands=asked)
    published = dict(
        zip(PUBLISHED["S2L1C"], statistics("v1.1-webdataset").mean["S2L1C"], strict=True)
    )
    expected = np.float32([published[name] for name in asked or names])
    assert ds.scalings["S2L1C"].offset.tolist() == expected.tolist()


@pytest.mark.parametrize("raw", [False, True])
def test_the_devices_cache_holds_them(raw: bool) -> None:
    ds = chosen(None if raw else AUGMENTED)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*decoded on the CPU")
        kept = OnHost(ds, 4, shuffle=True, device_cache=2**24)
        plain_loader = OnHost(ds, 4, shuffle=True)
        for _ in range(3):
            assert_same(list(kept), list(plain_loader))


def test_dropped_bands_are_of_the_chosen_ones() -> None:
    recipe = Recipe((View(size=16, drop=1.0, drop_bands=(1, 3)),), Radiometry.two_sigma())
    ds = chosen(recipe)
    kept = draw_bands(recipe.views, 0, 0, np.arange(21), 4)[:, 0]
    assert set(kept.sum(axis=1)) <= {1, 2, 3}
    for i in range(5):
        assert ds.keep(np.array([i]), 0, 0)["S2L1C"][0, 0].tolist() == kept[i].tolist()
        view = ds[i]["S2L1C"][0]
        assert view.shape == (4, 16, 16)
        assert [bool(band.any()) for band in view] <= [bool(k) for k in kept[i]]


def test_asking_for_all_changes_nothing(tiny: Path, reopen: Open) -> None:
    plain_ds, ds = reopen(tiny), reopen(tiny, bands=["B0", "B1", "B2"])
    assert ds.modalities == plain_ds.modalities
    np.testing.assert_array_equal(chunks(ds, 1), chunks(plain_ds, 1))  # still for the device
    assert_same(list(DataLoader(ds, 4)), list(DataLoader(plain_ds, 4)))


@pytest.mark.parametrize("modality", ["S2L1C", "S2L2A", "S1GRD", "S2RGB"])
def test_published_names_serve_where_files_hold_none(
    tmp_path: Path, reopen: Open, modality: str
) -> None:
    count = len(PUBLISHED[modality])
    pixels = make.pixels(modality, (4, count, 24, 24))
    members = {n: c for n, c in make.group(pixels, consolidated=False).items()
               if not n.startswith("band/")}  # fmt: skip
    make.write_tar(make.shard(tmp_path, modality), {"1": make.zipped(members)})
    names = PUBLISHED[modality][::-1]
    ds = reopen(tmp_path, modalities=[modality], bands=names)
    assert ds.modalities[modality].band_names == names
    assert make.same(ds.read(modality, 0), np.ascontiguousarray(pixels[:, ::-1]))
    assert reopen(tmp_path, modalities=[modality]).modalities[modality].band_names == ()


def test_chunks_without_a_chosen_band_are_not_read(tmp_path: Path, reopen: Open) -> None:
    """Damage there is not even seen."""
    make.write(
        tmp_path,
        make=lambda i, m: make.zipped(
            make.group(make.pixels(f"{m} {i}"), number=i, chunks=(1, 1, 24, 24))
        ),
    )
    whole = reopen(tmp_path)
    path = make.shard(tmp_path)
    data = bytearray(path.read_bytes())
    for chunk in chunks(whole, 0):
        if chunk["cell"] % 3 != 1:
            data[chunk["offset"] + 20] ^= 0xFF
    path.write_bytes(bytes(data))
    ds = reopen(tmp_path, bands=["B01"])
    assert len(chunks(ds, 0)) == make.T
    assert make.same(ds[0]["S2L1C"].numpy(), make.pixels("S2L1C 0")[:, [1]])
