import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data

from fastload import SSL4EOS12, Radiometry, Recipe, View
from fastload.seasons import season
from fastload.storage.handles import HANDLES
from fastload_kernels import draw, draw_bands, reference
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import chunks

TWO_DATES = Recipe(
    (
        View(size=16, scale=(0.3, 1.0), timestamp="distinct", d4=0.9, jitter=0.8, brightness=0.3),
        View(size=12, timestamp="distinct", hflip=0.5, drop=0.5, drop_bands=(1, 2)),
    ),
    Radiometry.quantile((0.0, 100.0, 200.0), 900.0),
)
SERIES = Recipe((View(size=16, timestamp="all", d4=1.0),), Radiometry.quantile(0.0, 900.0))


# --- raw items ---


def test_a_raw_item(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny)
    item = ds[4]
    assert set(item) == {"S2L1C", "key", "index", "lon", "lat", "time", "season"}
    assert make.same(item["S2L1C"].numpy(), make.pixels("S2L1C 4"))
    assert item["S2L1C"].dtype == torch.int16
    assert (item["key"], item["index"], item["lon"], item["lat"]) == ("0000004", 4, 10.0, 50.0)
    assert item["time"].tolist() == make.dates(4, 4).tolist()
    assert item["season"].tolist() == [0, 1, 2, 3]


def test_items_are_the_callers_own(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny)
    ds[0]["S2L1C"].fill_(7)
    ds[0]["time"].fill_(7)
    assert make.same(ds[0]["S2L1C"].numpy(), make.pixels("S2L1C 0"))
    np.testing.assert_array_equal(ds.times(0), make.dates(0, 4))


def test_indices(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny)
    assert len(ds) == 6
    assert ds[-1]["key"] == "0000005"
    assert ds[-1]["index"] == 5
    assert ds[-6]["key"] == "0000000"
    assert ds[np.int64(2)]["key"] == ds[torch.tensor(2)]["key"] == "0000002"
    for bad in (6, -7, 10**12):
        with pytest.raises(IndexError):
            ds[bad]
    with pytest.raises(TypeError):
        ds["0000002"]
    assert [item["key"] for item in ds] == list(make.KEYS)


@pytest.mark.parametrize(("lat", "expected"), [(50.0, [0, 1, 2, 3]), (-33.0, [2, 3, 0, 1])])
def test_seasons_are_local(tmp_path: Path, reopen: Open, lat: float, expected: list[int]) -> None:
    make.write(tmp_path, make=lambda i, m: make.sample(i, m, lat=lat))
    assert reopen(tmp_path)[1]["season"].tolist() == expected


def test_cloud_share(tmp_path: Path, reopen: Open) -> None:
    mask = np.zeros((make.T, make.H, make.W), np.uint8)
    mask[1, :6], mask[2], mask[3, :, :12], mask[3, :, 12:] = 3, 4, 5, 6
    mask[0, 0, 0] = 1
    make.write(tmp_path, make=lambda i, m: make.sample(i, m, cloud=mask if i else None))
    ds = reopen(tmp_path)
    np.testing.assert_allclose(ds.cloud(2), [0, 0.25, 1, 0])
    assert np.isnan(ds.cloud(0)).all()


def test_place_and_dates_may_be_missing(tmp_path: Path, reopen: Open) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    kept = {
        n: c for n, c in content.items() if n.split("/")[0] not in ("time", "center_lon", "band")
    }
    make.write_tar(make.shard(tmp_path), {"1": make.zipped(kept)})
    item = reopen(tmp_path)[0]
    assert np.isnan(item["lon"])
    assert item["lat"] == 50.0
    assert item["time"].tolist() == [np.iinfo(np.int64).min] * 4
    assert item["season"].tolist() == [-1] * 4


def test_big_endian_and_small_dtypes_reach_torch(tmp_path: Path, reopen: Open) -> None:
    content = make.zipped(make.group(make.pixels(1, dtype=">u2")))
    make.write_tar(make.shard(tmp_path), {"1": content})
    assert reopen(tmp_path)[0]["S2L1C"].dtype == torch.uint16


# --- items of a recipe ---


@pytest.mark.parametrize("epoch", [0, 3])
def test_a_recipes_item_is_what_the_reference_makes(tiny: Path, reopen: Open, epoch: int) -> None:
    ds = reopen(tiny, recipe=TWO_DATES, seed=11)
    ds.set_epoch(epoch)
    scaling = TWO_DATES.radiometry_of("S2L1C").scaling("S2L1C", make.C, ds.statistics)
    for i in range(len(ds)):
        item, ids = ds[i], np.array([i])
        params = draw(TWO_DATES.views, 11, epoch, ids, make.H, make.W, make.T)[0]
        keep = draw_bands(TWO_DATES.views, 11, epoch, ids, make.C)[0]
        source = make.pixels(f"S2L1C {i}")
        assert params["timestamp"][0] != params["timestamp"][1]
        for v, view in enumerate(TWO_DATES.views):
            t = params["timestamp"][v]
            expected = reference.apply(source[t], params[v], view, scaling, keep[v])
            assert item["S2L1C"][v].dtype == torch.float32
            np.testing.assert_array_equal(item["S2L1C"][v], expected.astype(np.float32))
            assert item["time"][v].item() == make.dates(i, 4)[t]
            assert item["season"][v].item() == season(make.dates(i, 4)[t], 50.0)


def test_items_differ_by_epoch_and_seed_only(tiny: Path, reopen: Open) -> None:
    def views(seed: int, epoch: int) -> bytes:
        ds = reopen(tiny, recipe=TWO_DATES, seed=seed)
        ds.set_epoch(epoch)
        return b"".join(v.numpy().tobytes() for i in (2, 5) for v in ds[i]["S2L1C"])

    assert views(1, 0) == views(1, 0)
    assert len({views(1, 0), views(1, 1), views(2, 0)}) == 3


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_a_series(tiny: Path, reopen: Open, dtype: Any) -> None:
    recipe = Recipe(SERIES.views, SERIES.radiometry, dtype)
    item = reopen(tiny, recipe=recipe)[3]
    assert item["S2L1C"][0].shape == (4, 3, 16, 16)
    assert item["S2L1C"][0].dtype == getattr(torch, dtype)
    assert item["time"][0].tolist() == make.dates(3, 4).tolist()
    assert item["season"][0].tolist() == [0, 1, 2, 3]


def test_only_the_drawn_timestamps_matter(tiny: Path, reopen: Open) -> None:
    """A view of timestamp 2 comes out although all other chunks are damaged."""
    expected = reopen(tiny)[0]["S2L1C"][2]
    path = make.shard(tiny)
    data = bytearray(path.read_bytes())
    for chunk in chunks(reopen(tiny), 0, timestamps=[0, 1, 3]):
        data[chunk["offset"] + 20] ^= 0xFF
    path.write_bytes(bytes(data))
    recipe = Recipe((View(size=24, timestamp=2),), Radiometry.quantile(0.0, 1000.0))
    got = reopen(tiny, recipe=recipe)[0]["S2L1C"][0]
    np.testing.assert_allclose(got, expected.numpy() / 1000, atol=1e-6)


@pytest.mark.parametrize(
    ("view", "words"),
    [(View(size=25), "25"), (View(size=8, timestamp=4), "4")],
    ids=["larger than the source", "no such timestamp"],
)
def test_a_recipe_that_does_not_fit(tiny: Path, reopen: Open, view: View, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reopen(tiny, recipe=Recipe((view,), Radiometry.quantile(0.0, 1.0)))


def test_a_recipe_without_radiometry_for_a_modality(tiny: Path, reopen: Open) -> None:
    recipe = Recipe((View(size=8),), {"S1GRD": Radiometry.standardise()})
    with pytest.raises(ValueError, match="no radiometry for S2L1C"):
        reopen(tiny, recipe=recipe)
    recipe = Recipe((View(size=8),), Radiometry.standardise())
    with pytest.raises(ValueError, match="have 13 bands for S2L1C, the data has 3"):
        reopen(tiny, recipe=recipe)


# --- pickling and torch's workers ---


def test_a_pickled_dataset_is_small_and_the_same(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny, recipe=TWO_DATES, seed=3)
    ds.set_epoch(2)
    ds[0]  # maps the shards
    again = pickle.loads(pickle.dumps(ds))
    assert again.fingerprint == ds.fingerprint
    for i in range(len(ds)):
        for a, b in zip(again[i]["S2L1C"], ds[i]["S2L1C"], strict=True):
            assert torch.equal(a, b)
    np.testing.assert_array_equal(again.lon, ds.lon)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("start", ["spawn", "fork"])
def test_torchs_workers(tiny: Path, reopen: Open, start: str) -> None:
    ds = reopen(tiny)
    ds[0]
    loader = torch.utils.data.DataLoader(
        ds, batch_size=2, num_workers=2, multiprocessing_context=start
    )
    batches = list(loader)
    assert [k for b in batches for k in b["key"]] == list(make.KEYS)
    for b in batches:
        for i, got in zip(b["index"].tolist(), b["S2L1C"].numpy(), strict=True):
            assert make.same(got, make.pixels(f"S2L1C {i}"))


def test_more_shards_than_handles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastload.storage.handles.budget", lambda: 2)
    make.write(tmp_path, per_shard=1)
    ds = SSL4EOS12(tmp_path, progress=False)
    before = HANDLES.held()
    for _ in range(2):
        for i in range(len(ds)):
            assert make.same(ds.read("S2L1C", i), make.pixels(f"S2L1C {i}"))
            assert HANDLES.held() <= max(2, before)
    assert len(ds.sources["S2L1C"].store._opened) <= 2
    del ds
    assert HANDLES.held() <= before


def test_a_dataset_with_another_recipe(tiny: Path, reopen: Open) -> None:
    raw = reopen(tiny)
    ds = raw.with_recipe(TWO_DATES)
    assert raw.recipe is None
    assert ds.recipe is TWO_DATES
    expected = reopen(tiny, recipe=TWO_DATES)
    for a, b in zip(ds[1]["S2L1C"], expected[1]["S2L1C"], strict=True):
        assert torch.equal(a, b)
    assert make.same(raw[1]["S2L1C"].numpy(), make.pixels("S2L1C 1"))
    with pytest.raises(ValueError, match="25"):
        raw.with_recipe(Recipe((View(size=25),), Radiometry.quantile(0.0, 1.0)))
