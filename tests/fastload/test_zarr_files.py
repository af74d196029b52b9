"""SSL4EO-S12 v1.1 in zarr files of many samples."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

import fastload
from fastload import SSL4EOS12, DataError, DataLoader
from fastload.cli import main
from fastload.datasets.source import FRAME
from fastload.datasets.ssl4eo_zarr import SSL4EOS12Zarr
from fastload.profile import Stages
from fastload.storage.dates import NO_TIME
from fastload.storage.index import FILE
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.fastload import zarrfiles as files
from tests.fastload.test_zip64 import ended64, far
from tests.fastload.zarrfiles import IDS, C, H, S, T, W

N = len(IDS)
GRIDS = {
    "a timestamp": (1, 1, C, H, W),
    "a sample": (1, T, C, H, W),
    "two timestamps": (1, 2, C, H, W),
    "by band": (1, 1, 1, H, W),
    "two samples": (2, 1, C, H, W),
    "all": (64, 6, 5, 40, 40),
    "uneven everywhere": (2, 3, 2, 7, 10),
}


def opened(root: Path, *modalities: str, **options: Any) -> SSL4EOS12Zarr:
    return SSL4EOS12Zarr(root, modalities=modalities or ("S2L2A",), progress=False, **options)


def check(root: Path, modality: str = "S2L2A", **options: Any) -> SSL4EOS12Zarr:
    """Pixels and each selection of timestamps are as zarr reads them."""
    ds, expected = opened(root, modality, **options), files.by_zarr(root, modality)
    for i in range(N):
        assert make.same(ds.read(modality, i), expected[i])
        for chosen in ([0], [T - 1], [1, 2], [3, 0]):
            assert make.same(ds.read(modality, i, chosen), expected[i, chosen])
    return ds


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunk_grids(tmp_path: Path, grid: tuple[int, ...], order: str) -> None:
    mask_chunks = (*grid[:2], *grid[3:])
    ds = check(files.write(tmp_path, chunks=grid, order=order, mask_chunks=mask_chunks))
    masks = files.by_zarr(tmp_path, array="cloud_mask")
    shares = np.isin(masks, (3, 4)).mean((2, 3))
    np.testing.assert_allclose(ds.all_clouds, shares, rtol=1e-6)
    again = opened(tmp_path, "S2L2A", "cloud_mask")
    for i in range(N):
        assert make.same(again.read("cloud_mask", i), masks[i][:, None])


@pytest.mark.parametrize(
    "options",
    [{"compressor": None}, {"compressor": numcodecs.GZip()}, {"filters": [numcodecs.Delta("<i2")]},
     {"dtype": ">i2"}, {"dtype": "<f2"}, {"compressor": numcodecs.Blosc("zstd", shuffle=2)},
     {"dimension_separator": "/"}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("grid", ["a timestamp", "two samples"])
def test_codecs_and_dtypes(tmp_path: Path, options: dict[str, Any], grid: str) -> None:
    check(files.write(tmp_path, chunks=GRIDS[grid], **options))


@pytest.mark.parametrize("time", ["time_", "time", "days"])
@pytest.mark.parametrize("as_text", [True, False])
def test_columns(tmp_path: Path, time: str, as_text: bool) -> None:
    ds = opened(files.write(tmp_path, time=time, as_text=as_text), columns=["crs", "file_id"])
    assert list(ds.keys) == list(IDS)
    assert ds.modalities["S2L2A"].band_names == ("B04", "B8A")
    assert ds.statistics.name == "v1.1-zarr"
    assert ds.lon.tolist() == [10.0 + i for i in range(N)]
    assert ds.lat.tolist() == [50.0 + i for i in range(N)]
    np.testing.assert_array_equal(ds.all_times, [make.dates(i, T) for i in range(N)])
    assert ds.extras["crs"].tolist() == [32600 + i for i in range(N)]
    assert ds.extras["file_id"][3].tolist() == [f"S2A_3_{t}".encode() for t in range(T)]
    assert ds.group.tolist() == [0] * S + [1] * (N - S)


def test_keys_by_position(tmp_path: Path) -> None:
    """Where there are no ids; the same for each modality, so that they join."""
    files.write(tmp_path, ["S2L2A", "S1GRD"], ids=False)
    ds = opened(tmp_path, "S2L2A", "S1GRD")
    assert ds.keys[0] == "ssl4eos12_train_seasonal_data_000001_00"
    assert ds.keys[N - 1] == "ssl4eos12_train_seasonal_data_000002_01"
    for name in ds.modalities:
        check(tmp_path, name)


def test_an_axis_of_numbers_is_no_date(tmp_path: Path) -> None:
    """`time` that counts from 0, as xarray writes a plain axis."""
    files.write(tmp_path)
    for number in (1, 2):
        target = files.path(tmp_path, number=number)
        with zipfile.ZipFile(target) as archive:
            content = {n: archive.read(n) for n in archive.namelist() if "time_" not in n}
        headers = json.loads(content[".zmetadata"])
        headers["metadata"].pop("time_/.zarray")
        target.write_bytes(make.zipped(content | {".zmetadata": json.dumps(headers).encode()}))
    ds = opened(tmp_path)
    assert (ds.all_times == NO_TIME).all()
    assert (ds.all_seasons == -1).all()


def test_modalities_are_joined_by_key(tmp_path: Path) -> None:
    files.write(tmp_path, ["S2L2A", "S1GRD"])
    target = files.path(tmp_path, "S1GRD", 2)
    target.write_bytes(make.zipped(files.group("S1GRD", [4, 3])))
    ds = opened(tmp_path, "S2L2A", "S1GRD")
    for i in range(N):
        for name in ds.modalities:
            assert make.same(ds.read(name, i), files.pixels(name, [i])[0])
    target.write_bytes(make.zipped(files.group("S1GRD", [3])))
    with pytest.raises(ValueError, match=f"S1GRD lacks 1 of 5 keys, such as {IDS[4]}"):
        opened(tmp_path, "S2L2A", "S1GRD")
    assert list(opened(tmp_path, "S2L2A", "S1GRD", missing="drop").keys) == list(IDS[:4])


def test_bands_are_chosen(tmp_path: Path) -> None:
    ds = opened(files.write(tmp_path, chunks=GRIDS["two samples"]), bands=["B8A"])
    assert make.same(ds.read("S2L2A", 4), files.pixels("S2L2A", [4])[0][:, 1:])


@pytest.mark.parametrize("engine", ["threads", "dali"])
@pytest.mark.parametrize("grid", ["a timestamp", "two samples"])
def test_engines_read_them(tmp_path: Path, engine: Any, grid: str) -> None:
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    ds = opened(files.write(tmp_path, chunks=GRIDS[grid]))
    (batch,) = DataLoader(ds, batch_size=N, engine=engine, num_workers=2)
    assert make.same(batch["S2L2A"].numpy(), files.by_zarr(tmp_path))


def test_they_are_recognised(tmp_path: Path) -> None:
    files.write(tmp_path)
    ds = fastload.open(tmp_path, modalities="S2L2A", progress=False)
    assert isinstance(ds, SSL4EOS12Zarr)
    with pytest.raises(FileNotFoundError, match=r"Zarr release of SSL4EO-S12 v1\.1: "):
        SSL4EOS12(tmp_path, modalities="S2L2A", progress=False)
    make.write(tmp_path / "tars")
    with pytest.raises(FileNotFoundError, match=r"SSL4EO-S12 v1\.1"):
        opened(tmp_path / "tars", "S2L1C")
    with pytest.raises(FileNotFoundError, match="holds S2L2A"):
        opened(tmp_path, "S1GRD")


def test_they_are_indexed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = opened(files.write(tmp_path))
    assert "indexing 2 of 2 shards" in capsys.readouterr().out
    again = pickle.loads(pickle.dumps(ds.subset([4])))
    assert make.same(again[0]["S2L2A"].numpy(), files.pixels("S2L2A", [4])[0])
    opened(tmp_path)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "train" / "S2L2A" / FILE).is_file()
    files.path(tmp_path, number=2).write_bytes(make.zipped(files.group("S2L2A", [4])))
    assert list(opened(tmp_path).keys) == [*IDS[:3], IDS[4]]
    assert "indexing 1 of 2 shards" in capsys.readouterr().out


# --- only what is wanted is read ---


class Counting(Local):
    """Counts the bytes that are asked for."""

    asked = 0

    def below(self, name: str) -> "Counting":
        return Counting(self.folder / name)

    def read(self, name: str, offset: int, out: memoryview) -> int:
        Counting.asked += len(out)
        return super().read(name, offset, out)

    def fetch(self, name: str, size: int, offset: int, out: Any, patient: bool = True) -> None:
        Counting.asked += len(out)
        super().fetch(name, size, offset, out, patient)

    def read_ranges(self, names: Any, sizes: Any, ranges: Any) -> Any:
        Counting.asked += int(ranges.size.sum())
        return super().read_ranges(names, sizes, ranges)


def stored_bytes(root: Path, number: int, name: str) -> int:
    with zipfile.ZipFile(files.path(root, number=number)) as archive:
        return archive.getinfo(name).compress_size


@pytest.mark.parametrize("engine", ["", "threads", "dali"])
def test_a_single_date_moves_its_chunks_bytes_alone(tmp_path: Path, engine: Any) -> None:
    """At most 1.1 times the bytes of the wanted chunks are asked of the store."""
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    ds = SSL4EOS12Zarr(Counting(files.write(tmp_path)), modalities="S2L2A", progress=False)
    Counting.asked = 0
    wanted = 0
    for i in range(N):
        for t in range(T):
            inside, number = i % S, 1 + i // S
            wanted += stored_bytes(tmp_path, number, f"bands/{inside}.{t}.0.0.0")
            if not engine:
                ds.read("S2L2A", i, [t])
    if engine:
        (_,) = DataLoader(ds, batch_size=N, engine=engine, num_workers=2)
    assert 0 < wanted <= Counting.asked <= 1.1 * wanted


def test_their_chunks_are_frames(tmp_path: Path) -> None:
    """So that a GPU decodes them."""
    source: Any = opened(files.write(tmp_path)).sources["S2L2A"]
    rows = source.chunks(np.arange(N), np.ones((N, T), bool)).rows
    assert (rows["codec"] == FRAME).all()
    assert source.whole_timestamps(0)
    stages, out = Stages(), np.empty((1, C, H, W), np.int16)
    source.read(3, [2], out, stages)
    assert stages.bytes_in == stored_bytes(tmp_path, 2, "bands/0.2.0.0.0")


# --- zips ---


def test_zip64_and_deflated_files(tmp_path: Path) -> None:
    for number, change in enumerate((ended64, far, lambda d: ended64(far(d)))):
        root = files.write(tmp_path / str(number))
        for path in root.rglob("*.zip"):
            path.write_bytes(change(path.read_bytes()))
        check(root)
    root = files.write(tmp_path / "deflated")
    for path in root.rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            content = {n: archive.read(n) for n in archive.namelist()}
        path.write_bytes(make.zipped(content, zipfile.ZIP_DEFLATED))
    check(root)


def test_absent_chunks_are_fill_value(tmp_path: Path) -> None:
    for grid in ("a timestamp", "two samples"):
        root = files.write(tmp_path / grid, chunks=GRIDS[grid], fill_value=-5)
        for path in root.rglob("*.zip"):
            with zipfile.ZipFile(path) as archive:
                content = {n: archive.read(n) for n in archive.namelist()}
            del content["bands/0.1.0.0.0"], content["cloud_mask/0.2.0.0"]
            path.write_bytes(make.zipped(content))
        check(root)


# --- damage ---


def test_a_damaged_chunk_is_named(tmp_path: Path) -> None:
    for grid, member in (("a timestamp", "bands/1.2.0.0.0"), ("two samples", "bands/0.2.0.0.0")):
        root = files.write(tmp_path / grid, chunks=GRIDS[grid])
        ds = opened(root)
        path = files.path(root, number=2)
        with zipfile.ZipFile(path) as archive:
            at = archive.getinfo(member).header_offset + 30 + len(member)
        data = bytearray(path.read_bytes())
        data[at + 40] ^= 0x10
        path.write_bytes(data)
        with pytest.raises(DataError, match="CRC-32") as caught:
            ds.read("S2L2A", S + 1, [2])
        error = caught.value
        assert (error.shard, error.member, error.offset) == (str(path), member, at)
        assert make.same(ds.read("S2L2A", S + 1, [0, 1, 3]),
                         files.pixels("S2L2A", [S + 1])[0, [0, 1, 3]])  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "a zip has at least 22 bytes"),
        (bytes(4096), "no end record"),
        (b"<html>502 Bad Gateway</html>", "found a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer"),
        (make.zipped({"x": b"y"}), "there is no array 'bands'"),
        (make.zipped({"bands/zarr.json": b"{}", "zarr.json": b"{}"}), "zarr format 3"),
        (make.sample(1), r"'bands' must be \[sample, time, band, y, x\], got shape \[4, 3, 24, 24"),
    ],
)
def test_what_is_no_such_file(tmp_path: Path, content: bytes, words: str) -> None:
    path = files.path(files.write(tmp_path), number=2)
    path.write_bytes(content)
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path)
    assert caught.value.shard == str(path)
    with pytest.warns(UserWarning, match="1 shards .* are left out"):
        ds = opened(tmp_path, bad_shards="skip")
    assert list(ds.keys) == list(IDS[:S])


def test_truncated_files(tmp_path: Path) -> None:
    path = files.path(files.write(tmp_path), number=1)
    data = path.read_bytes()
    for size in (1, 21, 22, 100, len(data) // 2, len(data) - 22, len(data) - 1):
        path.write_bytes(data[:size])
        with pytest.raises(DataError, match=r"zip") as caught:
            opened(tmp_path)
        assert caught.value.shard == str(path)


def test_a_file_that_shrinks_after_opening(tmp_path: Path) -> None:
    ds = opened(files.write(tmp_path))
    path = files.path(tmp_path, number=1)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="when it was indexed"):
        ds.read("S2L2A", 1)


def changed(root: Path, array: str, **fields: Any) -> None:
    """Change a header of the first file."""
    path = files.path(root)
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        content = {n: archive.read(n) for n in archive.namelist()}
    headers = json.loads(content[".zmetadata"])
    headers["metadata"][f"{array}/.zarray"] |= fields
    path.write_bytes(make.zipped(content | {".zmetadata": json.dumps(headers).encode()}))


@pytest.mark.parametrize(
    ("array", "fields", "words"),
    [
        ("bands", {"shape": [S, T, C, H]}, r"must be \[sample, time, band, y, x\]"),
        ("bands", {"shape": [0, T, C, H, W]}, r"must be \[sample, time, band, y, x\]"),
        ("bands", {"shape": [2.5, T, C, H, W]}, r"must be \[sample, time, band, y, x\]"),
        ("bands", {"shape": [2**17, T, C, H, W]}, "131072 samples, more than 65536"),
        ("bands", {"shape": [2**16, T, C, H, W]}, "chunks, more than 262144|promise"),
        ("bands", {"chunks": [2**11, 1, C, H, W]}, "2048 samples, more than 1024"),
        ("bands", {"chunks": [0, 1, C, H, W]}, "chunks must be a list of integers"),
        ("bands", {"chunks": [2**10, 4, C, 600, 600]}, "exceed 2147483647 bytes"),
        ("bands", {"chunks": [True, 1, C, H, W]}, "chunks must be a list of integers"),
        ("bands", {"chunks": None}, "chunks must be a list"),
        ("bands", {"dtype": "|S3"}, "must be numbers"),
        ("bands", {"compressor": {"id": "pickle"}}, "array 'bands': compressor 'pickle'"),
        (
            "center_lon",
            {"dtype": "|S8", "fill_value": ""},
            "center_lon must be a number for each of 3",
        ),
    ],
)
def test_headers_that_are_refused(
    tmp_path: Path, array: str, fields: dict[str, Any], words: str
) -> None:
    changed(files.write(tmp_path), array, **fields)
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path)
    assert caught.value.shard == str(files.path(tmp_path))


def test_ids_that_stand_twice(tmp_path: Path) -> None:
    files.write(tmp_path)
    files.path(tmp_path, number=2).write_bytes(make.zipped(files.group("S2L2A", [0, 4])))
    with pytest.raises(DataError, match=r"1 keys stand more than once, this one in .*01.* .*02"):
        opened(tmp_path)


def test_files_that_differ(tmp_path: Path) -> None:
    """In shape: refused; in chunks and codecs: read."""
    files.write(tmp_path)
    other = files.group("S2L2A", [3, 4], chunks=GRIDS["uneven everywhere"], compressor=None)
    files.path(tmp_path, number=2).write_bytes(make.zipped(other))
    check(tmp_path)
    make_other = files.group("S2L2A", [3, 4], dtype=np.uint8)
    files.path(tmp_path, number=2).write_bytes(make.zipped(make_other))
    with pytest.raises(DataError, match=r"differ in shape or dtype: .*int16 in 3, .*uint8 in 2"):
        opened(tmp_path)


@pytest.mark.timeout(120)
def test_the_command_indexes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write(tmp_path, ["S2L2A", "S1GRD"])
    assert main(["index", str(tmp_path), "--workers", "1"]) == 0
    assert capsys.readouterr().out.count("5 samples in 2 shards") == 2
    opened(tmp_path, "S2L2A", "S1GRD")
    assert capsys.readouterr().out == ""
