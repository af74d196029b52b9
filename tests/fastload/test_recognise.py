"""What lies where shards are expected: read, or named (C4 to C7)."""

import gzip
import io
import os
import subprocess
import sys
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload import SSL4EOS12, DataError
from fastload.cli import main
from fastload.storage.index import FILE
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import REPOSITORY

APPLE = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(300)


def keys(ds: SSL4EOS12) -> list[str]:
    return [k if isinstance(k, str) else k.decode() for k in list(ds.keys)]


# --- C4: what macOS leaves ---


def test_c4_twins_beside_shards(tiny: Path, reopen: Open) -> None:
    for path in make.shard(tiny).parent.glob("*.tar"):
        path.with_name(f"._{path.name}").write_bytes(APPLE)
    (make.shard(tiny).parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    assert keys(reopen(tiny)) == list(make.KEYS)


def test_c4_twins_inside_shards(tmp_path: Path, reopen: Open) -> None:
    samples = {}
    for key in make.KEYS[:3]:
        samples |= {f"./._{key}": APPLE, f"./{key}": make.sample(int(key))}
    make.write_tar(make.shard(tmp_path), samples)
    ds = reopen(tmp_path)
    assert keys(ds) == list(make.KEYS[:3])
    assert make.same(ds.read("S2L1C", 2), make.pixels("S2L1C 2"))


# --- C5: the command ---


def folder(root: Path, modality: str = "S2L1C") -> Path:
    return root / "train" / modality


@pytest.mark.timeout(120)
def test_c5_index_through_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each folder once, whatever loops there are."""
    make.write(tmp_path / "scratch", ["S2L1C", "S1GRD"])
    root = tmp_path / "data"
    root.mkdir()
    (root / "train").symlink_to(tmp_path / "scratch" / "train")
    (root / "again").symlink_to(tmp_path / "scratch" / "train" / "S2L1C")
    (tmp_path / "scratch" / "train" / "loop").symlink_to(tmp_path)
    (root / "dangling").symlink_to(tmp_path / "nowhere")
    assert main(["index", str(root), "--workers", "1"]) == 0
    out = capsys.readouterr().out
    assert out.count("6 samples in 2 shards") == 2
    assert (tmp_path / "scratch" / "train" / "S1GRD" / FILE).is_file()


@pytest.mark.timeout(120)
def test_c5_foreign_tars_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """MoCo's checkpoints, and tars of other things."""
    make.write(tmp_path, ["S2L1C", "S1GRD"])
    (tmp_path / "checkpoints").mkdir()
    torch.save({"x": torch.zeros(3)}, tmp_path / "checkpoints" / "checkpoint_0099.pth.tar")
    with tarfile.open(tmp_path / "raw.tar", "w") as tar:
        info = tarfile.TarInfo("readme.txt")
        info.size = 5
        tar.addfile(info, io.BytesIO(b"hello"))
    (folder(tmp_path, "S1GRD") / "._x.tar").write_bytes(APPLE)
    for _ in range(2):
        assert main(["index", str(tmp_path), "--workers", "1"]) == 0
        said = capsys.readouterr()
        assert said.out.count("6 samples in 2 shards") == 2
        assert "passed over" in said.err
        assert "checkpoint_0099.pth.tar: expected a tar, found a zip" in said.err
        assert "raw.tar: the shard holds no *.zarr.zip sample" in said.err


@pytest.mark.timeout(120)
def test_c5_nothing_but_foreign_tars(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.tar").write_bytes(b"PK\x03\x04" + bytes(600))
    assert main(["index", str(tmp_path), "--workers", "1"]) == 1
    assert "passed over" in capsys.readouterr().err


# --- C6: tars, formats, pointers ---


@pytest.mark.parametrize("padding", [0, 512, 2**20, 2**22 + 512, 2**25, 100])
def test_c6_padding_of_any_size(tmp_path: Path, reopen: Open, padding: int) -> None:
    make.write(tmp_path)
    path = make.shard(tmp_path, number=2)
    os.truncate(path, path.stat().st_size + padding)
    assert keys(reopen(tmp_path)) == list(make.KEYS)


@pytest.mark.parametrize("behind", [1, 512, 2**20 + 7, 2**21])
def test_c6_bytes_behind_the_padding(tmp_path: Path, reopen: Open, behind: int) -> None:
    make.write(tmp_path)
    path = make.shard(tmp_path, number=2)
    with path.open("ab") as file:
        file.write(bytes(behind) + b"x")
    with pytest.raises(DataError, match="other bytes follow"):
        reopen(tmp_path)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 189\n" % (b"a" * 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (POINTER, "Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>502 Bad Gateway</html>" * 30, "web page"),
        (b"<html>", "web page"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
        (gzip.compress(bytes(20480), mtime=0), "compressed by gzip"),
        (b"PK\x03\x04" + bytes(2000), "a zip"),
        (b"II*\0" + bytes(2000), "a TIFF"),
        (APPLE, "what macOS keeps"),
        (b"\x93" * 4096, "not a sound tar"),
    ],
)
def test_c6_what_is_no_tar_is_named(tiny: Path, reopen: Open, content: bytes, words: str) -> None:
    path = make.shard(tiny, number=2)
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        reopen(tiny)
    assert caught.value.shard == str(path)


def test_c6_zarr_format_3_is_named(tmp_path: Path, reopen: Open) -> None:
    content = make.zipped({"zarr.json": b'{"zarr_format": 3}', "bands/zarr.json": b"{}"})
    make.write_tar(make.shard(tmp_path), {"1": content})
    with pytest.raises(DataError, match="zarr format 3, expected format 2"):
        reopen(tmp_path)


# --- C6: names and roots ---


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make.write(tmp_path / "data", ["S2L1C", "S1GRD", "NDVI"])


def refusal(root: Any, modality: Any = "S2L1C", **options: Any) -> str:
    with pytest.raises((FileNotFoundError, ValueError)) as caught:
        SSL4EOS12(root, modalities=modality, progress=False, **options)
    return str(caught.value)


def test_c6_a_bare_name(root: Path) -> None:
    ds = SSL4EOS12(root, modalities="S1GRD", progress=False)
    assert list(ds.modalities) == ["S1GRD"]


def test_c6_the_users_home(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(SSL4EOS12("~/data", progress=False)) == 6
    assert len(SSL4EOS12(Path("~") / "data", progress=False)) == 6


@pytest.mark.parametrize("name", ["s1grd", "S1-GRD", "S1GRDD"])
def test_c6_a_name_that_is_not_there(root: Path, name: str) -> None:
    said = refusal(root, [name])
    assert "NDVI, S1GRD, S2L1C" in said
    assert "did you mean 'S1GRD'?" in said


def test_c6_the_folder_of_a_split_as_root(root: Path) -> None:
    said = refusal(root / "train")
    assert f"give root={str(root)!r} and split='train'" in said


def test_c6_a_split_that_is_not_there(root: Path) -> None:
    assert f"{root} holds train" in refusal(root, split="test")


def test_c6_a_root_that_is_not_there(root: Path) -> None:
    assert f"there is no folder {root / 'nowhere'}" in refusal(root / "nowhere")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://server/x", "https://, http://, s3://, gs://, hf://"),
        ("hf://datasets/x", "hf://datasets/ORG/NAME"),
        ("s3:///x", "s3://BUCKET/PREFIX"),
        (Path("s3://bucket/x"), "give a str"),
    ],
)
def test_c6_urls_of_other_kinds_are_refused(url: str | Path, words: str) -> None:
    assert words in refusal(url, split="val")


SCENE = "20200330T052649_20200330T053037_T44RKT"


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ("train/S2L1C/ssl4eos12_train_seasonal_data_000001.zarr.zip", "release of SSL4EO-S12 v1.1"),
        ("train/S2L1C/ssl4eos12_shard_000001.tar.gz", "unpack them"),
        ("train/S2L1C/part1/ssl4eos12_shard_000001.tar", "part1: move or link them"),
        ("train/S2L1C/data.parquet", "Major TOM"),
        (
            f"s2a/0000000/{SCENE}/B1.tif",
            "looks like SSL4EO-S12 v1.0 (GeoTIFF tree): fastload.open(",
        ),
        (f"deep/s2a/0000000/{SCENE}/B1.tif", "deep looks like SSL4EO-S12 v1.0 (GeoTIFF tree)"),
        (f"s1/0000000/S1A_IW_GRDH_1SDV_{SCENE}/VV.tif", "looks like SSL4EO-S12 v1.0"),
        (
            "seco_100k/000000/20190101T000000/B2.tif",
            "looks like SeCo (Seasonal Contrast): fastload.",
        ),
        ("a.tif", "looks like Folders of co-registered GeoTIFFs: fastload.open("),
        ("S2L1C/a.tif", "looks like Folders of co-registered GeoTIFFs: fastload.open("),
        ("Core-S2L1C/images/part_00001.parquet", "Major TOM"),
        ("BigEarthNet-S2/S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP/x/B02.tif", "BigEarthNet"),
    ],
)
def test_c6_other_layouts_are_named(tmp_path: Path, tree: str, words: str) -> None:
    path = tmp_path / tree
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    assert words in refusal(tmp_path)


# --- C7: bad shards ---


@pytest.fixture
def some_bad(tmp_path: Path) -> Path:
    """Shards 2 and 4 of five cannot be indexed."""
    root = make.write(tmp_path / "data", keys=[f"{i:07d}" for i in range(10)], per_shard=2)
    os.truncate(make.shard(root, number=2), 5000)
    make.shard(root, number=4).write_bytes(POINTER)
    return root


def test_c7_by_default_a_bad_shard_is_refused(some_bad: Path, reopen: Open) -> None:
    with pytest.raises(DataError, match="shard_000002"):
        reopen(some_bad)


def test_c7_bad_shards_are_left_out_and_listed(some_bad: Path, reopen: Open) -> None:
    for _ in range(2):
        with pytest.warns(UserWarning, match="2 shards .* are left out") as caught:
            ds = reopen(some_bad, bad_shards="skip")
        assert len(caught) == 1
        assert [int(key) for key in ds.keys] == [0, 1, 4, 5, 8, 9]
        for i, key in enumerate(ds.keys):
            assert make.same(ds.read("S2L1C", i), make.pixels(f"S2L1C {int(key)}"))
        assert [Path(e.shard).name[-6:-4] for e in ds.bad_shards] == ["02", "04"]
        assert "Git LFS" in ds.bad_shards[1].reason


def test_c7_a_mended_shard_is_back(some_bad: Path, reopen: Open) -> None:
    with pytest.warns(UserWarning, match="left out"):
        before = reopen(some_bad, bad_shards="skip").sources["S2L1C"].index.origin
    with pytest.warns(UserWarning, match="left out"):  # nothing new: the index is as it was
        assert reopen(some_bad, bad_shards="skip").sources["S2L1C"].index.origin == before
    for number, first in ((2, 2), (4, 6)):
        samples = {f"{k:07d}": make.sample(k) for k in (first, first + 1)}
        make.write_tar(make.shard(some_bad, number=number), samples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ds = reopen(some_bad, bad_shards="skip")
    assert len(ds) == 10
    assert ds.bad_shards == []


def test_c7_a_shard_that_changed_beside_a_bad_one(some_bad: Path, reopen: Open) -> None:
    with pytest.warns(UserWarning, match="left out"):
        reopen(some_bad, bad_shards="skip")
    make.write_tar(make.shard(some_bad), {"0000000": make.sample(0), "0000077": make.sample(77)})
    with pytest.warns(UserWarning, match="left out"):
        ds = reopen(some_bad, bad_shards="skip")
    assert [int(key) for key in ds.keys] == [0, 77, 4, 5, 8, 9]
    assert make.same(ds.read("S2L1C", 1), make.pixels("S2L1C 77"))


def test_c7_with_several_modalities(some_bad: Path, reopen: Open) -> None:
    make.write(some_bad, ["S1GRD"], [f"{i:07d}" for i in range(10)])
    with (
        pytest.warns(UserWarning, match="left out"),
        pytest.raises(ValueError, match="lacks 4 of 10"),
    ):
        reopen(some_bad, modalities=["S1GRD", "S2L1C"], bad_shards="skip")
    with pytest.warns(UserWarning, match="left out"):
        ds = reopen(some_bad, modalities=["S1GRD", "S2L1C"], bad_shards="skip", missing="drop")
    assert [int(key) for key in ds.keys] == [0, 1, 4, 5, 8, 9]


def test_c7_nothing_but_bad_shards(some_bad: Path, reopen: Open) -> None:
    for number in (1, 3, 5):
        make.shard(some_bad, number=number).unlink()
    with pytest.raises(DataError, match="shard_000002"):
        reopen(some_bad, bad_shards="skip")
    with pytest.raises(ValueError, match="bad_shards must be"):
        reopen(some_bad, bad_shards="ignore")


@pytest.mark.timeout(120)
def test_c5_as_a_module(tmp_path: Path) -> None:
    """In a home that is written `~`."""
    make.write(tmp_path / "data")
    done = subprocess.run(
        [sys.executable, "-m", "fastload", "index", "~/data", "--workers", "1"],
        env=os.environ | {"HOME": str(tmp_path)},
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "6 samples in 2 shards" in done.stdout
