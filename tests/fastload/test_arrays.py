"""Arrays besides `bands` as modalities, and further columns (D)."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fastload import SSL4EOS12, DataError, DataLoader, Radiometry, Recipe, View
from fastload.storage import index as storage_index
from fastload.storage.extra import plain, stack
from fastload.storage.index import FILE, load, open_index
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.fastload.made import assert_like_torch

SHAPE = (make.T, make.H, make.W)


def mask(number: int) -> NDArray[np.uint8]:
    return np.random.default_rng(number).integers(0, 7, SHAPE, dtype=np.uint8)


def static(number: int) -> NDArray[np.uint8]:
    return make.pixels(f"static {number}", (1, make.H, make.W), np.uint8)


def with_more(content: dict[str, bytes], **arrays: Any) -> dict[str, bytes]:
    """A group with more arrays; a tuple gives chunks or other options, too."""
    store: dict[str, Any] = {n: c for n, c in content.items() if n != ".zmetadata"}
    group = make.zarr.open_group(store, mode="r+")
    for name, value in arrays.items():
        data, options = value if isinstance(value, tuple) else (value, {})
        group.create_dataset(name, data=data, overwrite=True, **options)
    make.zarr.consolidate_metadata(store)
    return {n: bytes(c) for n, c in store.items()}


def sample(number: int, modality: str) -> bytes:
    T = 1 if modality == "DEM" else make.T
    content = make.group(make.pixels(f"{modality} {number}")[:T], number=number)
    if modality in ("S2L1C", "S2L2A"):
        content = with_more(content, cloud_mask=(mask(number), {"chunks": (1, make.H, make.W)}))
    if modality == "LULC":
        tiles = {"chunks": (1, 10, make.W), "order": "F"}
        content = with_more(content, esri_original=(static(number), tiles), other=mask(number))
    return make.zipped(content)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make.write(tmp_path, ["S2L1C", "S2L2A", "LULC", "S1GRD"], make=sample)


def opened(root: Path, *modalities: str, **options: Any) -> SSL4EOS12:
    found = SSL4EOS12(root, modalities=modalities, progress=False, **options)
    found.set_epoch(0)
    return found


NAMES = ("LULC", "LULC/esri_original", "S2L1C/cloud_mask", "LULC/other")


def test_other_arrays_are_read(root: Path) -> None:
    """`[T, H, W]` and `[1, H, W]` as one band, in whatever chunks and order they lie."""
    ds = opened(root, *NAMES)
    assert [m.shape for m in ds.modalities.values()] == [
        (4, 3, 24, 24), (1, 1, 24, 24), (4, 1, 24, 24), (4, 1, 24, 24),
    ]  # fmt: skip
    assert ds.modalities["LULC/esri_original"].band_names == ("esri_original",)
    for i in range(len(ds)):
        assert make.same(ds.read("LULC", i), make.pixels(f"LULC {i}"))
        assert make.same(ds.read("LULC/esri_original", i), static(i)[:, None])
        for name in ("S2L1C/cloud_mask", "LULC/other"):
            for some in (None, [2], [3, 0]):
                expected = mask(i)[:, None] if some is None else mask(i)[some, None]
                assert make.same(ds.read(name, i, some), expected)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("views", [False, True])
def test_other_arrays_ride_with_every_engine(
    root: Path, engine: Any, workers: int, views: bool
) -> None:
    view = View(size=16, timestamp="independent", hflip=0.5)
    recipe = Recipe((view, view), Radiometry.quantile(0.0, 255.0)) if views else None
    ds = opened(root, *NAMES, recipe=recipe)
    loader = DataLoader(ds, 3, num_workers=workers, engine=engine)
    for mine, theirs in zip(loader, torch.utils.data.DataLoader(ds, 3), strict=True):
        assert_like_torch(mine, theirs, "float32", NAMES)


@pytest.mark.parametrize(
    ("modalities", "where"),
    [
        (["cloud_mask"], "S2L2A"),
        (["S2L1C", "cloud_mask"], "S2L1C"),
        (["S1GRD", "cloud_mask"], "S2L2A"),
        (["S1GRD", "cloud_mask", "S2L1C"], "S2L1C"),
        (["LULC", "cloud_mask"], "S2L2A"),
    ],
)
def test_the_cloud_mask_by_its_plain_name(root: Path, modalities: list[str], where: str) -> None:
    ds = opened(root, *modalities)
    assert Path(ds.sources["cloud_mask"].store.place).name == where  # type: ignore[attr-defined]
    assert ds.modalities["cloud_mask"].shape == (4, 1, 24, 24)
    assert make.same(ds.read("cloud_mask", 4), mask(4)[:, None])


def test_no_cloud_mask(root: Path) -> None:
    for name in ("S2L1C", "S2L2A"):
        shutil.rmtree(root / "train" / name)
    with pytest.raises(FileNotFoundError, match="there is no 'cloud_mask', looked into S1GRD"):
        opened(root, "S1GRD", "cloud_mask")


def test_an_array_that_is_not_there(root: Path) -> None:
    with pytest.raises(DataError, match=r"6 of 6 samples have no array 'esri'.*bands, esri_"):
        opened(root, "LULC/esri")


def test_a_folder_is_indexed_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened_places: list[str] = []
    real = storage_index.load

    def load_and_note(path: Path, *more: Any) -> Any:
        opened_places.append(path.parent.name)
        return real(path, *more)

    opened(root, "LULC")
    monkeypatch.setattr(storage_index, "load", load_and_note)
    ds = opened(root, "LULC", "LULC/other", "LULC/esri_original")
    assert opened_places == ["LULC"]
    indexes = {id(source.index) for source in ds.sources.values()}  # type: ignore[attr-defined]
    assert len(indexes) == 1


def test_damage_of_another_array_is_named(root: Path) -> None:
    ds = opened(root, "S2L1C/cloud_mask")
    source: Any = ds.sources["S2L1C/cloud_mask"]
    row = source.chunks(np.array([1]), np.ones((1, 4), bool)).rows[2]
    path = root / "train" / "S2L1C" / source.files[row["file"]]
    data = bytearray(path.read_bytes())
    data[row["offset"] + 40] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        ds.read("S2L1C/cloud_mask", 1)
    assert caught.value.member == f"{make.KEYS[1]}.zarr.zip/cloud_mask/2.0.0"
    assert caught.value.offset == row["offset"]


def test_arrays_that_are_no_images(tmp_path: Path) -> None:
    """Of other ranks, other lengths, kinds or filters: passed over, and harm nothing."""
    import numcodecs

    more = {
        "flat": np.zeros((24, 24)), "five": np.zeros((4, 1, 1, 2, 2)), "three": np.zeros((3, 5, 5)),
        "text": np.full((4, 2, 2), "a"), "x": np.arange(24.0),
        "filtered": (np.arange(4), {"filters": [numcodecs.PackBits()]}),
        "packed": (np.zeros((4, 5, 5)), {"filters": [numcodecs.Quantize(2, "<f8")]}),
    }  # fmt: skip
    content = with_more(make.group(make.pixels(1)), **more)
    make.write_tar(make.shard(tmp_path), {"1": make.zipped(content)})
    ds = opened(tmp_path, "S2L1C")
    assert make.same(ds.read("S2L1C", 0), make.pixels(1))
    assert sorted(ds.sources["S2L1C"].columns.extra) == ["crs"]


# --- columns ---


def described(number: int, modality: str) -> bytes:
    T, extra = make.T, dict[str, Any]()
    if number != 2:
        extra["file_id"] = np.array([f"S2A_{number}_{t}é" for t in range(T)])
    if number % 2:
        extra["quality"] = np.arange(T, dtype="f4") + number
        extra["orbit"] = np.array([number], "u2")
    extra["sample"] = np.array(f"{number}" * number + "x")
    content = make.group(make.pixels(number), number=number, cloud=mask(number))
    return make.zipped(with_more(content, **extra))


def test_further_columns_are_kept(tmp_path: Path) -> None:
    make.write(tmp_path, make=described)
    for _ in range(2):  # as scanned, and as loaded
        extra = opened(tmp_path, "S2L1C").sources["S2L1C"].columns.extra
        assert sorted(extra) == ["crs", "file_id", "orbit", "quality", "sample"]
        assert extra["crs"].tolist() == [32633] * 6
        assert extra["orbit"].tolist() == [-1, 1, -1, 3, -1, 5]
        assert extra["sample"].tolist() == [str(n).encode() * n + b"x" for n in range(6)]
        assert [t.decode() for t in extra["file_id"][5]] == [f"S2A_5_{t}é" for t in range(4)]
        assert extra["file_id"][2].tolist() == [b""] * 4
        np.testing.assert_array_equal(extra["quality"][1], np.arange(4) + 1)
        assert np.isnan(extra["quality"][0]).all()
    index = load(tmp_path / "train" / "S2L1C" / FILE)
    assert index.extra["crs"].dtype == np.int64
    assert not index.extra["crs"].flags.owndata


def test_chosen_columns_in_joined_order(tmp_path: Path) -> None:
    make.write(tmp_path, make=described)
    make.write(tmp_path, ["S1GRD"], make.KEYS[::-1][:4], make=sample)
    ds = opened(tmp_path, "S1GRD", "S2L1C", missing="drop", columns=("cloud", "crs", "sample"))
    numbers = [int(key) for key in ds.keys]
    assert list(ds.extras) == ["cloud", "crs", "sample"]
    assert ds.extras["sample"].tolist() == [str(n).encode() * n + b"x" for n in numbers]
    assert ds.extras["crs"].tolist() == [32633] * 4
    assert ds.extras["cloud"].shape == (4, 4)
    assert opened(tmp_path, "S2L1C").extras == {}


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    make.write(tmp_path, make=described)
    with pytest.raises(ValueError, match=r"no column 'orbits', expected some of \['cloud', 'crs'"):
        opened(tmp_path, "S2L1C", columns=["orbits"])
    with pytest.raises(ValueError, match="columns must be a list of names"):
        opened(tmp_path, "S2L1C", columns="crs")


def test_columns_after_tars_came_and_went(tmp_path: Path) -> None:
    """C10: what an index says does not depend on what it was."""
    make.write(tmp_path, make=described)
    once = open_index(Local(tmp_path / "train" / "S2L1C"))
    long = {"a much longer key than that": described(1, "S2L1C"), "b": described(30, "S2L1C")}
    more = with_more(make.group(make.pixels(1)), unique=np.array("here alone"))
    path = make.write_tar(make.shard(tmp_path, number=9), long | {"c": make.zipped(more)})
    assert "unique" in open_index(Local(tmp_path / "train" / "S2L1C")).extra
    path.unlink()
    again = open_index(Local(tmp_path / "train" / "S2L1C"))
    for name, column in once.columns().items():
        assert again.columns()[name].dtype == column.dtype, name
        np.testing.assert_array_equal(again.columns()[name], column)
    assert again.columns().keys() == once.columns().keys()


def test_kinds_that_differ_between_samples() -> None:
    """Numbers become floats or text where others are; a single entry serves for all timestamps."""
    whole, half = plain(np.array([3])), plain(np.array([0.5]))
    text, four = plain(np.array(["é"])), plain(np.arange(4))
    found = stack(
        [{"a": whole, "b": whole, "c": whole}, {"a": half, "b": text, "c": four}, {}], [1] * 3
    )
    np.testing.assert_array_equal(found["a"], [3.0, 0.5, np.nan])
    assert found["b"].tolist() == [b"3", "é".encode(), b""]
    assert found["c"].tolist() == [[3] * 4, [0, 1, 2, 3], [-1] * 4]
    assert plain(np.array([2**63], "u8")).dtype == np.float64
    assert plain(np.array(["x" * 5000])).tolist() == [b""]
