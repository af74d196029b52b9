"""Compressors and filters of zarr arrays: read as zarr reads them, within bounds, or refused."""

import bz2
import json
import lzma
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest

from fastload import SSL4EOS12, DataError, DataLoader
from fastload.storage.formats import filters
from fastload.storage.formats.codecs import Codec
from fastload.storage.formats.zarr import ArraySpec
from tests.fastload import shardmaker as make
from tests.fastload.test_formats import GRIDS, check, refuse

STREAMS = {
    "gzip": numcodecs.GZip(6),
    "lz4": numcodecs.LZ4(),
    "bz2": numcodecs.BZ2(1),
    "xz": numcodecs.LZMA(),
    "lzma alone": numcodecs.LZMA(format=lzma.FORMAT_ALONE),
}
CHAINS: dict[str, tuple[str, list[Any]]] = {
    "delta": ("<i2", [numcodecs.Delta("<i2")]),
    "delta of others": (">i4", [numcodecs.Delta(">i4", "<i2")]),
    "wide delta": ("|u1", [numcodecs.Delta("|u1", "<i4")]),
    "delta of floats": ("<f4", [numcodecs.Delta("<f4")]),
    "scaled": ("<f4", [numcodecs.FixedScaleOffset(200.0, 4.0, "<f4", "<i2")]),
    "scaled by whole numbers": ("<f8", [numcodecs.FixedScaleOffset(1, 10, "<f8", "<u4")]),
    "shuffled": ("<i2", [numcodecs.Shuffle(2)]),
    "shuffled by one": ("|u1", [numcodecs.Shuffle(1)]),
    "delta, shuffled": ("<i2", [numcodecs.Delta("<i2", "<i4"), numcodecs.Shuffle(4)]),
    "all": ("<f4", [numcodecs.FixedScaleOffset(0, 8, "<f4", "<i4"), numcodecs.Delta("<i4", "<i2"),
                    numcodecs.Shuffle(2)]),
    "shuffled twice": ("<i2", [numcodecs.Shuffle(2), numcodecs.Shuffle(2)]),
}  # fmt: skip


@pytest.mark.parametrize("codec", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("grid", ["a timestamp", "uneven everywhere"])
def test_streams(tmp_path: Path, codec: Any, grid: str) -> None:
    check(tmp_path, make.zipped(make.group(make.pixels(1), chunks=GRIDS[grid], compressor=codec)))


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("compressor", [make.LZ4, None], ids=["blosc", "none"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_filters(tmp_path: Path, chain: Any, compressor: Any, order: str) -> None:
    dtype, some = chain
    for grid in ("a timestamp", "uneven everywhere"):
        content = make.group(
            make.pixels(1, dtype=dtype), chunks=GRIDS[grid], compressor=compressor, order=order,
            filters=some,
        )  # fmt: skip
        check(tmp_path / grid, make.zipped(content))


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_engines_decode_them(tmp_path: Path, engine: Any) -> None:
    """What is no Blosc frame of the pixels is decoded on the host, whoever carries it."""
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    kinds: list[dict[str, Any]] = [
        *({"compressor": codec} for codec in STREAMS.values()), {"filters": CHAINS["delta"][1]},
    ]  # fmt: skip
    samples = {key: make.sample(i, **kinds[i]) for i, key in enumerate(make.KEYS)}
    make.write_tar(make.shard(tmp_path), samples)
    ds = SSL4EOS12(tmp_path, progress=False)
    (batch,) = DataLoader(ds, batch_size=6, engine=engine, num_workers=2)
    for i in range(6):
        assert make.same(batch["S2L1C"][i].numpy(), make.pixels(f"S2L1C {i}"))


@pytest.mark.parametrize("codec", [*STREAMS.values(), numcodecs.Zlib(1)], ids=str)
@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_stream_of_the_wrong_size(tmp_path: Path, codec: Any, wrong: int) -> None:
    content = make.group(make.pixels(1), compressor=codec)
    content["bands/1.0.0.0"] = bytes(codec.encode(np.zeros(make.pixels(1)[0].nbytes + wrong, "u1")))
    make.write_tar(make.shard(tmp_path), {"0000003": make.zipped(content)})
    with pytest.raises(DataError, match=r"expected|must say") as caught:
        SSL4EOS12(tmp_path, progress=False)[0]
    assert caught.value.member == "0000003.zarr.zip/bands/1.0.0.0"


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "lzma", "lz4", "zstd", "blosc"])
def test_a_bomb_goes_off_within_its_bound(name: str) -> None:
    """A stream of 64 MiB, where some kilobytes are expected, takes no more memory than these."""
    nothing = np.zeros(2**26, np.uint8)
    pack = {"blosc": numcodecs.Blosc("zstd"), "zstd": numcodecs.Zstd(1), "lz4": numcodecs.LZ4(),
            "gzip": numcodecs.GZip(9), "zlib": numcodecs.Zlib(9), "bz2": numcodecs.BZ2(9),
            "lzma": numcodecs.LZMA(preset=0)}[name]  # fmt: skip
    bomb, codec = bytes(pack.encode(nothing)), Codec.parse({"id": name})
    out = np.empty(4096, np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"4096|found"):
            codec.decode(bomb, out)
        with pytest.raises(ValueError, match=r"at most 4096|within 4096"):
            codec.decode_at_most(bomb, 4096)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_stream_that_asks_for_much_memory() -> None:
    """A dictionary of 1.5 GiB in the header of an LZMA stream is not made."""
    head = lzma.compress(b"", lzma.FORMAT_ALONE, filters=[{"id": lzma.FILTER_LZMA1}])
    data = head[:1] + struct.pack("<I", 3 * 2**29) + head[5:]
    with pytest.raises(ValueError, match=r"LZMA stream is damaged .*[Mm]emory"):
        Codec.parse({"id": "lzma"}).decode(data, np.empty(10, np.uint8))


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "lzma", "lz4"])
def test_cut_and_flipped_streams(name: str) -> None:
    """Every one is refused with a sentence, or decodes (some bits do not matter)."""
    pack = {"lz4": numcodecs.LZ4(), "gzip": numcodecs.GZip(), "zlib": numcodecs.Zlib(),
            "bz2": numcodecs.BZ2(), "lzma": numcodecs.LZMA(preset=0)}[name]  # fmt: skip
    values = make.pixels(1, (4, 40)).view(np.uint8).ravel()
    data, codec, out = bytes(pack.encode(values)), Codec.parse({"id": name}), np.empty_like(values)
    codec.decode(data, out)
    assert out.tobytes() == values.tobytes()
    for cut in range(len(data)):
        if name == "lz4" and cut > 4:
            continue  # a block does not say where it ends; its CRC-32 in the zip does
        with pytest.raises(ValueError, match=r"\w+ \w+"):
            codec.decode(data[:cut], out)
    refused = 0
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 0x21
        try:
            codec.decode(bytes(flipped), out)
        except ValueError:
            refused += 1
    assert refused >= 20


# --- what is refused ---


@pytest.mark.parametrize(
    ("some", "words"),
    [
        ([numcodecs.Quantize(2, "<f4").get_config()], "['quantize'] are not supported"),
        ([numcodecs.PackBits().get_config()], "['packbits'] are not supported"),
        ([{"id": "delta", "dtype": "<i2"}, {"id": None}], "[None] are not supported"),
        ([3], "filters must be a list of objects"),
        ({"id": "delta"}, "filters must be a list of objects"),
        ([{"id": "shuffle", "elementsize": 2}] * 9, "8 filters at most, got 9"),
        ([{"id": "shuffle", "elementsize": 0}], "elementsize must be 1 to 255"),
        ([{"id": "shuffle", "elementsize": 2.0}], "elementsize must be 1 to 255"),
        ([{"id": "shuffle", "elementsize": 7}], "of 7 bytes, of which a chunk of 3456"),
        ([{"id": "delta", "dtype": "|O"}], "dtype must be a dtype of numbers, got '|O'"),
        ([{"id": "delta", "dtype": "<f1"}], "dtype must be a dtype of numbers"),
        ([{"id": "delta", "dtype": "<i2", "astype": ["<i2"]}], "astype must be a dtype of numbers"),
        ([{"id": "delta"}], "dtype must be a dtype of numbers, got None"),
        ([{"id": "fixedscaleoffset", "dtype": "<i2", "scale": 0, "offset": 1}], "must not be 0"),
        ([{"id": "fixedscaleoffset", "dtype": "<i2", "scale": 1}], "offset must be a number"),
        ([{"id": "fixedscaleoffset", "dtype": "<i2", "scale": 10**400, "offset": 1}], "scale must"),
        ([{"id": "fixedscaleoffset", "dtype": "<i2", "scale": True, "offset": 1}], "scale must be"),
        ([{"id": "delta", "dtype": "|i1", "astype": "<i8"}] * 2, "expected at most 8 times"),
    ],
)
def test_filters_that_are_refused(tmp_path: Path, some: Any, words: str) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    header = json.loads(content["bands/.zarray"]) | {"filters": some}
    content["bands/.zarray"] = json.dumps(header).encode()
    refuse(tmp_path, make.zipped(content), words, "array 'bands'")


def test_raw_lzma_is_refused(tmp_path: Path) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    codec = {"id": "lzma", "format": 3, "filters": [{"id": 33}], "check": -1, "preset": None}
    header = json.loads(content["bands/.zarray"]) | {"compressor": codec}
    content["bands/.zarray"] = json.dumps(header).encode()
    refuse(tmp_path, make.zipped(content), "'lzma' of format 3 (raw) is not supported")


def test_a_filtered_chunk_is_bounded() -> None:
    """The bytes behind the filters, too, are at most what an array may have."""
    meta = {"zarr_format": 2, "shape": [1, 2**29], "chunks": [1, 2**29], "dtype": "|u1",
            "order": "C", "fill_value": 0, "compressor": None, "filters": None}  # fmt: skip
    assert ArraySpec.parse(meta).most_stored > 2**29
    with pytest.raises(ValueError, match="exceed 2147483647 bytes when filtered"):
        ArraySpec.parse(meta | {"filters": [{"id": "delta", "dtype": "|u1", "astype": "<i4"}]})


def test_texts_in_streams(tmp_path: Path) -> None:
    """Band names and other texts of any length, however they are compressed."""
    names = np.array(["B01", "B02", "a long name é"], object)
    for number, codec in enumerate([*STREAMS.values(), numcodecs.Zlib(), numcodecs.Zstd(), None]):
        store: dict[str, Any] = dict(make.group(make.pixels(1), consolidated=False))
        group = make.zarr.open_group(store, mode="r+")
        group.array("band", names, object_codec=numcodecs.VLenUTF8(), compressor=codec,
                    overwrite=True)  # fmt: skip
        make.zarr.consolidate_metadata(store)
        content = make.zipped({n: bytes(c) for n, c in store.items()})
        make.write_tar(make.shard(tmp_path / str(number)), {"1": content})
        ds = SSL4EOS12(tmp_path / str(number), progress=False)
        assert ds.modalities["S2L1C"].band_names == tuple(names)


def test_one_stream_alone_is_a_chunk() -> None:
    """Two streams one behind the other hold more than was promised; the second is not looked at."""
    for name, pack in (("bz2", bz2.compress), ("zlib", zlib.compress)):
        out = np.empty(6, np.uint8)
        with pytest.raises(ValueError, match="does not hold the 6 bytes"):
            Codec.parse({"id": name}).decode(pack(b"abc") + pack(b"def"), out)


def test_no_filters() -> None:
    assert filters.parse(None) == filters.parse([]) == ()
