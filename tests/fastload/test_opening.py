"""Opening whatever lies at a place."""

from pathlib import Path

import pytest

import fastload
from fastload.datasets import LAYOUTS
from fastload.datasets.known import layout, looks_like, recognised
from fastload.storage.at import at
from fastload.storage.store import Local
from tests.fastload import shardmaker as make


def test_shards_open_by_their_class(tiny: Path) -> None:
    dataset = fastload.open(tiny, modalities=["S2L1C"], progress=False)
    assert type(dataset) is fastload.SSL4EOS12
    assert list(dataset.keys) == list(make.KEYS)


def test_a_place_is_a_folder_text_or_store(tiny: Path) -> None:
    for place in (tiny, str(tiny), Local(tiny)):
        assert len(fastload.open(place, modalities="S2L1C", progress=False)) == len(make.KEYS)


def test_the_layout_may_be_named(tiny: Path) -> None:
    assert len(fastload.open(tiny, layout_name="ssl4eo_s12", progress=False)) == len(make.KEYS)
    with pytest.raises(ValueError, match=r"unknown layout 'zarr'.*ssl4eo_s12"):
        fastload.open(tiny, layout_name="zarr")


def test_every_layout_of_the_table_says_what_it_is() -> None:
    for name in LAYOUTS:
        kind = layout(name)
        assert issubclass(kind, fastload.Dataset)
        assert kind.looks_right(Local("/nowhere/at/all")) is False  # type: ignore[attr-defined]
        assert (kind.__doc__ or "").strip()


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["Core-S2L2A/images/part_00001.parquet"], "looks like Major TOM Core"),
        (["MMEarth/data_1M_v001.h5"], "looks like MMEarth"),
        (["olmoearth/00001.h5"], "HDF5"),
        (["notes.txt"], "is of no known layout; it holds notes.txt"),
    ],
)
def test_what_cannot_be_read_is_described(tmp_path: Path, files: list[str], words: str) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(FileNotFoundError) as caught:
        fastload.open(tmp_path)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_nothing_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no such folder, or nothing in it"):
        fastload.open(tmp_path / "absent")


def test_a_folder_above_is_told_where_the_data_lie(tiny: Path) -> None:
    store = at(tiny.parent)
    assert recognised(store) is None
    found = looks_like(store)
    assert found is not None
    assert str(tiny) in found
    assert "fastload.open" in found


def test_stores_walk_their_folders(tmp_path: Path) -> None:
    for name in ("b/2.tif", "b/1.tif", "a.tif", "c/d/e.tif", "b/._1.tif", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    store = Local(tmp_path)
    assert list(store.walk(".tif")) == ["a.tif", "b/1.tif", "b/2.tif", "c/d/e.tif"]
    assert store.folders() == ["b", "c"]
    assert store.below("c").folders() == ["d"]
    assert store.filenames() == ["a.tif", "notes.txt"]
    assert store.filenames("", 1) == ["a.tif"]
    assert store.content("c/d/e.tif") == b"c/d/e.tif"
    assert store.below("none").filenames() == store.below("none").folders() == []
