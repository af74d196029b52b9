import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import Blosc, Zlib, Zstd

from fastload import SSL4EOS12, DataError
from fastload.profile import Stages
from tests.fastload import shardmaker as make
from tests.fastload.made import chunks, file_of
from tests.fastload.shardmaker import C, H, T, W

CODECS = {
    f"{name} {mode}": Blosc(cname=name, clevel=level, shuffle=shuffle)
    for name, level in (("lz4", 5), ("lz4hc", 9), ("zstd", 3), ("zlib", 4), ("blosclz", 5))
    for mode, shuffle in (
        ("none", Blosc.NOSHUFFLE),
        ("byte", Blosc.SHUFFLE),
        ("bit", Blosc.BITSHUFFLE),
    )
} | {
    "zstd": Zstd(3),
    "zlib": Zlib(6),
    "none": None,
    "stored in blosc": Blosc(cname="lz4", clevel=0),
    "many blosc blocks": Blosc(cname="lz4", clevel=5, blocksize=256),
}
GRIDS = {
    "a timestamp": (1, C, H, W),
    "whole": (T, C, H, W),
    "two timestamps": (2, C, H, W),
    "three timestamps, uneven": (3, C, H, W),
    "tiles": (1, C, 8, 12),
    "uneven tiles": (1, C, 7, 10),
    "by band": (1, 1, H, W),
    "uneven bands": (1, 2, H, W),
    "uneven everywhere": (3, 2, 7, 10),
    "larger than the array": (6, 5, 40, 40),
}
DTYPES = ["|u1", "|i1", *(o + t for t in ("i2", "u2", "i4", "f2", "f4", "f8") for o in "<>")]


def check(root: Path, content: bytes, key: str = "0000003", **options: Any) -> SSL4EOS12:
    """Write one sample, compare pixels and each selection of timestamps with zarr's."""
    path = make.write_tar(make.shard(root), {key: content}, **options)
    expected = make.read_by_zarr(path, key)
    ds = SSL4EOS12(root, progress=False)
    assert ds.keys.tolist() == [key]
    raw = ds[0]["S2L1C"]
    assert make.same(raw.numpy(), expected)
    for chosen in ([0], [len(expected) - 1], [2, 0], [1, 1, 3]):
        assert make.same(ds.read("S2L1C", 0, chosen), expected[chosen])
    return ds


@pytest.mark.parametrize("modality", ["S2L2A", "S2RGB", "NDVI"])
def test_real_samples_decode_as_zarr_reads_them(real: Path, modality: str) -> None:
    ds = SSL4EOS12(real, modalities=[modality], progress=False)
    assert len(ds) == 10
    for i, key in enumerate(ds.keys):
        path = file_of(ds, chunks(ds, i, modality)[0], modality)
        store = make.store_of(path, key.decode())
        assert make.same(ds.read(modality, i), make.read_by_zarr(path, key.decode()))
        time = np.asarray(make.zarr.open_group(store, mode="r")["time"][...])
        np.testing.assert_array_equal(ds.times(i), time)
        assert ds.lon[i] == np.frombuffer(store["center_lon/0"], "<f8")[0]
        assert ds.lat[i] == np.frombuffer(store["center_lat/0"], "<f8")[0]


def test_real_modalities_join(real: Path) -> None:
    ds = SSL4EOS12(real, modalities=["S2L2A", "S2RGB", "NDVI"], progress=False)
    assert {n: (m.shape, str(m.dtype)) for n, m in ds.modalities.items()} == {
        "S2L2A": ((4, 12, 264, 264), "int16"),
        "S2RGB": ((4, 3, 264, 264), "uint8"),
        "NDVI": ((4, 1, 264, 264), "float16"),
    }
    assert ds.modalities["S2L2A"].band_names[0] == "B01"
    shares = [np.mean(np.isin(mask, (3, 4))) for mask in cloud_masks(ds, 0)]
    np.testing.assert_allclose(ds.cloud(0), shares, rtol=1e-6)


def cloud_masks(ds: SSL4EOS12, i: int) -> np.ndarray:
    path = file_of(ds, chunks(ds, i, "S2L2A")[0], "S2L2A")
    return make.zarr.open_group(make.store_of(path, ds.keys[i]), mode="r")["cloud_mask"][:]


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("grid", ["a timestamp", "uneven everywhere"])
def test_codecs(tmp_path: Path, codec: Any, grid: str) -> None:
    check(tmp_path, make.zipped(make.group(make.pixels(1), chunks=GRIDS[grid], compressor=codec)))


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_chunk_grids(tmp_path: Path, grid: tuple[int, ...], order: str) -> None:
    check(tmp_path, make.zipped(make.group(make.pixels(2), chunks=grid, order=order)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("grid", ["a timestamp", "uneven everywhere"])
@pytest.mark.parametrize("codec", [make.LZ4, None], ids=["blosc", "none"])
def test_dtypes(tmp_path: Path, dtype: str, grid: str, codec: Any) -> None:
    bands = make.pixels(3, dtype=dtype)
    if bands.dtype.kind == "f":
        bands[0, 0, 0, :4] = (np.nan, np.inf, -np.inf, -0.0)
    ds = check(tmp_path, make.zipped(make.group(bands, chunks=GRIDS[grid], compressor=codec)))
    assert ds.modalities["S2L1C"].dtype == np.dtype(dtype).newbyteorder("=")


@pytest.mark.parametrize(
    ("dtype", "fill"),
    [("<i2", 0), ("<i2", -999), (">i2", -999), (">i2", 258), ("|u1", 7), ("<u2", 65535),
     ("<f4", "NaN"), (">f4", "NaN"), (">f4", 1.5), ("<f2", -12.5), (">f8", "-Infinity"),
     ("<i4", None), (">f2", "NaN")],
)  # fmt: skip
@pytest.mark.parametrize("grid", ["a timestamp", "two timestamps", "uneven tiles"])
def test_absent_chunks_are_fill_value(tmp_path: Path, dtype: str, fill: Any, grid: str) -> None:
    value = float(fill) if isinstance(fill, str) else fill
    content = make.group(make.pixels(4, dtype=dtype), chunks=GRIDS[grid], fill_value=value)
    chunks = sorted(n for n in content if n.startswith("bands/") and n[-1].isdigit())
    meta = json.loads(content["bands/.zarray"])
    assert meta["fill_value"] == fill
    if fill is None:
        # zarr leaves such pixels undefined; we give zeros.
        content = {n: c for n, c in content.items() if n != chunks[0]}
        make.write_tar(make.shard(tmp_path), {"0000003": make.zipped(content)})
        assert not SSL4EOS12(tmp_path, progress=False).read("S2L1C", 0, [0])[0, 0, 0, 0]
        return
    check(tmp_path, make.zipped({n: c for n, c in content.items() if n not in chunks[::2]}))


def test_all_chunks_absent(tmp_path: Path) -> None:
    absent = [f"bands/{t}.0.0.0" for t in range(T)]
    check(tmp_path, make.zipped(make.group(make.pixels(4), fill_value=9, absent=absent)))


@pytest.mark.parametrize("bands", [1, 2, 12, 13])
@pytest.mark.parametrize("steps", [4, 5])
def test_any_number_of_bands_and_timestamps(tmp_path: Path, bands: int, steps: int) -> None:
    ds = check(tmp_path, make.zipped(make.group(make.pixels(5, (steps, bands, 16, 18)))))
    assert ds.modalities["S2L1C"].shape == (steps, bands, 16, 18)
    assert ds.modalities["S2L1C"].band_names == tuple(f"B{i:02d}" for i in range(bands))


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize("separator", [".", "/"])
@pytest.mark.parametrize("grid", ["a timestamp", "uneven everywhere"])
def test_metadata_and_separator(
    tmp_path: Path, consolidated: bool, separator: str, grid: str
) -> None:
    content = make.group(
        make.pixels(6), chunks=GRIDS[grid], consolidated=consolidated, separator=separator
    )
    assert f"bands/0{separator}0{separator}0{separator}0" in content
    assert (".zmetadata" in content) == consolidated
    check(tmp_path, make.zipped(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("stream", [False, True], ids=["", "data descriptors"])
@pytest.mark.parametrize("extra", [b"", b"\x99\x99\x04\x00abcd"], ids=["", "extra field"])
def test_zip_variations(tmp_path: Path, method: int, stream: bool, extra: bytes) -> None:
    absent = ["bands/2.0.0.0"]
    for content in (make.group(make.pixels(7)), make.group(make.pixels(7), absent=absent)):
        zip_bytes = make.zipped(content, method, extra, stream)
        assert (b"PK\x07\x08" in zip_bytes) == stream
        check(tmp_path, zip_bytes)


def test_extra_field_of_local_headers_alone(tmp_path: Path) -> None:
    """Some writers pad local headers, and only those, to align what follows."""
    content = make.zipped(make.group(make.pixels(7)), extra=b"\x99\x99\x04\x00abcd")
    ends = io.BytesIO(content)
    with zipfile.ZipFile(ends, "a") as archive:
        for info in archive.infolist():
            info.extra = b""
        archive._didModify = True  # writes the directory again
    assert ends.getvalue().count(b"\x99\x99") == len(archive.namelist())
    check(tmp_path, ends.getvalue())


def test_a_comment_behind_the_zip(tmp_path: Path) -> None:
    content = io.BytesIO(make.zipped(make.group(make.pixels(7))))
    with zipfile.ZipFile(content, "a") as archive:
        archive.comment = b"made by hand " * 40
    check(tmp_path, content.getvalue())


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_of_members_written_twice_the_last_counts(tmp_path: Path, method: int) -> None:
    old, new = make.group(make.pixels(8)), make.group(make.pixels(9), number=5)
    twice = [*old.items(), *((n, c) for n, c in new.items() if not n.startswith("."))]
    ds = check(tmp_path, make.zipped(twice, method))
    assert make.same(ds.read("S2L1C", 0), make.pixels(9))
    np.testing.assert_array_equal(ds.times(0), make.dates(5, T))


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_formats(tmp_path: Path, format: int) -> None:
    key = "0000003" if format == tarfile.USTAR_FORMAT else "long" * 30
    check(tmp_path, make.zipped(make.group(make.pixels(7))), key, format=format)


def test_members_in_folders_and_other_files(tmp_path: Path) -> None:
    path = make.shard(tmp_path)
    path.parent.mkdir(parents=True)
    content = make.sample(1)
    with tarfile.open(path, "w") as tar:
        folder = tarfile.TarInfo("some")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in (("some/readme.txt", b"hello"), ("some/0000001.zarr.zip", content)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    ds = SSL4EOS12(tmp_path, progress=False)
    assert ds.keys.tolist() == ["0000001"]
    assert make.same(ds.read("S2L1C", 0), make.pixels("S2L1C 1"))


def test_samples_of_a_shard_may_differ_in_layout(tmp_path: Path) -> None:
    kinds = [
        {"chunks": GRIDS["uneven everywhere"]},
        {"compressor": Zstd(1), "order": "F"},
        {"consolidated": False, "separator": "/"},
        {"absent": ["bands/1.0.0.0"], "fill_value": 5},
    ]
    contents = {f"{i:07d}": make.sample(i, **kind) for i, kind in enumerate(kinds)}
    contents["0000009"] = make.zipped(make.group(make.pixels(1, dtype=">i2")))
    path = make.write_tar(make.shard(tmp_path), contents)
    ds = SSL4EOS12(tmp_path, progress=False)
    for i, key in enumerate(contents):
        assert make.same(ds.read("S2L1C", i), make.read_by_zarr(path, key))


# --- only what is needed is read ---


def needed(grid: tuple[int, ...], chosen: list[int]) -> set[tuple[int, ...]]:
    counts = [-(-n // c) for n, c in zip((T, C, H, W), grid, strict=True)]
    return {g for g in np.ndindex(*counts) if any(t // grid[0] == g[0] for t in chosen)}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("chosen", [[0], [3], [1, 2], [0, 1, 2, 3]], ids=str)
def test_only_needed_chunks_are_read(
    tmp_path: Path, grid: tuple[int, ...], chosen: list[int]
) -> None:
    make.write(tmp_path, make=lambda i, m: make.sample(i, m, chunks=grid))
    ds = SSL4EOS12(tmp_path, progress=False)
    source, rows = ds.sources["S2L1C"], chunks(ds, 4, timestamps=chosen)
    cells = [tuple(map(int, np.unravel_index(c["cell"], source.spec(4).grid))) for c in rows]
    assert set(cells) == needed(grid, chosen)
    assert len(set(cells)) == len(rows)
    store = make.store_of(make.shard(tmp_path, number=2), "0000004")
    expected = sum(len(store["bands/" + ".".join(map(str, cell))]) for cell in cells)
    out, stages = np.empty((len(chosen), C, H, W), np.int16), Stages()
    source.read(4, chosen, out, stages)
    assert stages.bytes_in == expected
    assert stages.bytes_out == out.nbytes
    assert make.same(out, make.pixels("S2L1C 4")[chosen])


@pytest.mark.parametrize("chosen", [[-1], [4], [0, 9]], ids=str)
def test_a_timestamp_that_is_not_there(tiny: Path, chosen: list[int]) -> None:
    with pytest.raises(IndexError, match="timestamps of S2L1C are 0 to 3"):
        SSL4EOS12(tiny, progress=False).read("S2L1C", 0, chosen)


# --- what is refused ---


def refuse(root: Path, content: bytes, *words: str) -> None:
    path = make.write_tar(make.shard(root), {"0000003": content})
    with pytest.raises(DataError) as caught:
        SSL4EOS12(root, progress=False)
    assert caught.value.shard == str(path)
    assert caught.value.member.startswith("0000003.zarr.zip")
    for word in words:
        assert word in str(caught.value)


def test_snappy_is_refused(tmp_path: Path) -> None:
    content = make.group(make.pixels(1))
    content[".zmetadata"] = content[".zmetadata"].replace(b'"lz4"', b'"snappy"')
    refuse(tmp_path, make.zipped(content), "Blosc codec 'snappy' is not supported")


def test_bzip2_is_refused(tmp_path: Path) -> None:
    content = make.zipped(make.group(make.pixels(1)), zipfile.ZIP_BZIP2)
    refuse(tmp_path, content, "zip method 12 is not supported")


def patched_entries(content: bytes, change: Any) -> bytes:
    """Apply a change to each entry of a zip's directory."""
    data = bytearray(content)
    at = int.from_bytes(data[-6:-2], "little")
    while data[at : at + 4] == b"PK\x01\x02":
        change(data, at)
        at += 46 + sum(int.from_bytes(data[at + k : at + k + 2], "little") for k in (28, 30, 32))
    return bytes(data)


def test_encryption_is_refused(tmp_path: Path) -> None:
    def encrypt(data: bytearray, at: int) -> None:
        data[at + 8] |= 1

    content = patched_entries(make.zipped(make.group(make.pixels(1))), encrypt)
    refuse(tmp_path, content, "is encrypted, which is not supported")


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("zarr_format", 3, "zarr_format must be 2"),
        ("dtype", [["a", "<i2"]], "not a plain NumPy dtype"),
        ("dtype", None, "not a plain NumPy dtype"),
        ("dtype", "<M8[ns]", "must be numbers [T, C, H, W]"),
        ("dtype", "<M8[9ns]", "not a plain NumPy dtype"),
        ("dtype", "|O8", "dtype '|O8'"),
        ("dtype", "<c8", "is not supported"),
        ("dtype", "<U0", "is not supported"),
        ("dtype", "<i7", "not a plain NumPy dtype"),
        ("order", "K", "order must be"),
        ("shape", [4, 3, -24, 24], "shape must be a list"),
        ("shape", [4, 3, 24], "differ in length"),
        ("shape", "4, 3, 24, 24", "shape must be a list"),
        ("shape", None, "shape must be a list"),
        ("shape", [0, 3, 24, 24], "must be numbers [T, C, H, W]"),
        ("shape", [2**31, 3, 24, 24], "exceed"),
        ("shape", [4, 3, 8000, 8000], "makes more than"),
        ("chunks", [1, 3, 0, 24], "chunks must be a list"),
        ("chunks", [2**20, 3, 24, 24], "exceed"),
        ("fill_value", "many", "fill_value 'many' does not fit"),
        ("fill_value", 10**9, "does not fit"),
        ("fill_value", [4], "does not fit"),
        ("dimension_separator", "-", "dimension_separator must be"),
        ("compressor", {"id": "pickle"}, "compressor 'pickle' is not supported"),
        ("compressor", "lz4", ""),
    ],
)  # fmt: skip
def test_headers_that_are_refused(tmp_path: Path, field: str, value: Any, words: str) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    header = json.loads(content["bands/.zarray"]) | {field: value}
    content["bands/.zarray"] = json.dumps(header).encode()
    refuse(tmp_path, make.zipped(content), words)


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"[]", b"{}", b'{"metadata": 3}', b'{"metadata": {"bands/.zarray": 3}}',
     b'{"metadata": []}', b"\xff\xfe", b"[" * 100_000, b'{"metadata": {"bands/.zarray": null}}'],
    ids=range(10),
)  # fmt: skip
def test_metadata_that_is_nonsense(tmp_path: Path, text: bytes) -> None:
    content = make.group(make.pixels(1))
    content[".zmetadata"] = text
    refuse(tmp_path, make.zipped(content))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("time", np.arange(3), "time must be 4 numbers"),
        ("time", np.array(["a"] * 4), "time must be 4 numbers"),
        ("center_lon", np.arange(2.0), "center_lon must be one number"),
        ("center_lat", np.array("north"), "north"),
    ],
)
def test_small_arrays_that_make_no_sense(tmp_path: Path, name: str, value: Any, words: str) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    other: dict[str, Any] = {}
    make.zarr.group(store=other).create_dataset(name, data=value)
    content = {n: c for n, c in content.items() if not n.startswith(f"{name}/")}
    content |= {n: bytes(c) for n, c in other.items() if n.startswith(f"{name}/")}
    refuse(tmp_path, make.zipped(content), words)


def test_a_group_without_bands(tmp_path: Path) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    content = {n: c for n, c in content.items() if not n.startswith("bands/")}
    refuse(tmp_path, make.zipped(content), "there is no array 'bands'")


def test_bands_of_another_rank(tmp_path: Path) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    header = json.loads(content["bands/.zarray"]) | {"shape": [24, 24], "chunks": [24, 24]}
    content["bands/.zarray"] = json.dumps(header).encode()
    refuse(tmp_path, make.zipped(content), "must be numbers [T, C, H, W], or [C, H, W] of one date")


def test_samples_of_different_shape(tmp_path: Path) -> None:
    contents = {"a": make.sample(1), "b": make.zipped(make.group(make.pixels(1, (4, 2, 24, 24))))}
    make.write_tar(make.shard(tmp_path), contents)
    with pytest.raises(DataError, match="samples differ in shape or dtype"):
        SSL4EOS12(tmp_path, progress=False)


@pytest.mark.parametrize("codec", [Zstd(3), Zlib(6), None, make.LZ4], ids=str)
@pytest.mark.parametrize("grid", ["a timestamp", "uneven everywhere"])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_sound_frame_of_the_wrong_size(tmp_path: Path, codec: Any, grid: str, wrong: int) -> None:
    """Its CRC matches, but it holds less or more than the header promises."""
    content = make.group(make.pixels(1), compressor=codec, chunks=GRIDS[grid])
    size = int(np.prod(GRIDS[grid])) * 2
    data = np.zeros(size + wrong, np.uint8)
    name = "bands/1.0.0.0"
    content[name] = bytes(codec.encode(data) if codec else data)
    make.write_tar(make.shard(tmp_path), {"0000003": make.zipped(content)})
    ds = SSL4EOS12(tmp_path, progress=False)
    with pytest.raises(DataError) as caught:
        ds[0]
    assert caught.value.member == f"0000003.zarr.zip/{name}"
    assert caught.value.offset > 0


# --- checksums ---


def test_crc_is_checked_unless_told_otherwise(tmp_path: Path) -> None:
    content = make.group(make.pixels(1), compressor=None)
    zip_bytes = make.zipped(content)
    at = zip_bytes.index(content["bands/2.0.0.0"][:64])
    broken = bytearray(zip_bytes)
    broken[at + 100] ^= 0x40
    path = make.write_tar(make.shard(tmp_path), {"0000003": bytes(broken)})
    ds = SSL4EOS12(tmp_path, progress=False)
    with pytest.raises(DataError, match="CRC-32 does not match the zip directory") as caught:
        ds[0]
    assert (caught.value.shard, caught.value.member) == (
        str(path), "0000003.zarr.zip/bands/2.0.0.0",
    )  # fmt: skip
    assert path.read_bytes()[caught.value.offset :].startswith(content["bands/2.0.0.0"][:64])
    np.testing.assert_array_equal(ds.read("S2L1C", 0, [0, 1, 3]), make.pixels(1)[[0, 1, 3]])
    got = SSL4EOS12(tmp_path, progress=False, check_crc=False)[0]["S2L1C"].numpy()
    assert np.count_nonzero(got != make.pixels(1)) == 1
