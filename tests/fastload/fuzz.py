"""Mutated codecs, zips and zarr files: refused with a sentence, or read within what was promised.

Each function runs so many executions from a seed and says how many were refused. Whatever else is
raised, and whatever is written beyond its place, ends it.
"""

import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import numcodecs
import numpy as np

from fastload.datasets.ssl4eo_zarr import ManySource
from fastload.profile import Stages
from fastload.storage.errors import DataError
from fastload.storage.formats import filters
from fastload.storage.formats import zip as zips
from fastload.storage.formats.codecs import Codec
from fastload.storage.index import ZIPS, merge, part
from fastload.storage.scan_zip import scan_zip
from tests.conformance.toy import Memory
from tests.fastload import shardmaker as make
from tests.fastload.test_hostile import changed
from tests.fastload.test_zip64 import ended64, far

GUARD = 0xAB
NUMBERS = [0, 1, 2, 7, 8, 127, 128, 255, 256, 2**15, 2**16 - 1, 2**16, 2**31 - 1, 2**31, 2**32 - 1,
           2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1]  # fmt: skip


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Bytes with a few of them flipped, replaced by odd numbers, doubled, moved or cut off."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 3, 8])):
        at, kind = rng.randrange(len(out) + 1), rng.randrange(6)
        size = rng.choice([1, 2, 4, 8])
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + size] = (rng.choice(NUMBERS) % 256**size).to_bytes(size, "little")
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            out[at:at] = out[at : at + rng.randrange(64)]
        elif kind == 4:
            del out[at : at + rng.randrange(16)]
        else:
            out[at : at + size] = rng.randbytes(size)
    return bytes(out)


def is_sentence(error: Exception) -> bool:
    """Whether an error says something; the error of nothing ends a run."""
    if " " not in str(error):
        raise AssertionError(repr(error))
    return True


CODECS: dict[str, Any] = {
    "gzip": numcodecs.GZip(), "zlib": numcodecs.Zlib(), "bz2": numcodecs.BZ2(),
    "lzma": numcodecs.LZMA(preset=0), "lz4": numcodecs.LZ4(), "zstd": numcodecs.Zstd(),
    "blosc": numcodecs.Blosc("lz4", shuffle=2), "none": None,
}  # fmt: skip
CHAINS: list[Any] = [
    None, [{"id": "delta", "dtype": "<i2", "astype": "<i4"}], [{"id": "shuffle", "elementsize": 2}],
    [{"id": "fixedscaleoffset", "dtype": "<f4", "scale": 0.5, "offset": 3, "astype": "<i2"},
     {"id": "delta", "dtype": "<i2"}],
]  # fmt: skip


def codecs(count: int, seed: int) -> int:
    """Mutated streams of every codec, behind every chain of filters."""
    rng, refused = random.Random(seed), 0
    values = make.pixels(seed, (2, 40)).astype("<i2").view(np.uint8).ravel()
    sound = []
    for codec in CODECS.values():
        for chain in CHAINS:
            parsed = filters.parse(chain)
            size = filters.encoded_sizes(parsed, len(values))[-1]
            packed = np.resize(values, size)
            data = packed.tobytes() if codec is None else bytes(codec.encode(packed))
            own = None if codec is None else codec.get_config()
            sound.append((Codec.parse(own, parsed), data))
    memory = np.empty(len(values) + 128, np.uint8)
    for _ in range(count):
        codec, data = rng.choice(sound)
        memory[:] = GUARD
        try:
            codec.decode(mutated(data, rng), memory[64:-64])
        except ValueError as error:
            refused += is_sentence(error)
        try:
            assert len(codec.decode_at_most(mutated(data, rng), 1000)) <= 1000
        except ValueError as error:
            refused += is_sentence(error)
        assert (memory[:64] == GUARD).all()
        assert (memory[-64:] == GUARD).all()
    return refused


def directories(count: int, seed: int) -> int:
    """Mutated directories of zips, most of them zip64."""
    rng, refused = random.Random(seed), 0
    content = {f"bands/{i}.0": bytes([i]) * 5 for i in range(4)} | {".zgroup": b"{}"}
    plain = make.zipped(content)
    sound = [plain, far(plain), far(plain, "place"), ended64(plain), ended64(far(plain))]
    for _ in range(count):
        data = rng.choice(sound)
        # Where the directory is, there is most to break.
        at = data.index(b"PK\x01\x02") if rng.random() < 0.8 else 0
        data = data[:at] + mutated(data[at:], rng)

        def read(offset: int, size: int, data: bytes = data) -> bytes:
            if not 0 <= offset <= offset + size <= len(data):
                raise ValueError("reaches beyond the zip")
            return data[offset : offset + size]

        try:
            found = zips.directory(read, len(data))
            zips.check_names(read, found.headers)
        except ValueError as error:
            refused += is_sentence(error)
            continue
        for entry in found.entries.values():
            assert 0 <= entry.offset <= entry.offset + entry.stored <= len(data)
    return refused


def many(count: int, seed: int) -> int:
    """Mutated zarr files of several samples: their bytes, or their headers with right checksums."""
    rng, refused = random.Random(seed), 0
    kinds = [_zarr_file(chunks) for chunks in ((1, 1, 1, 6, 6), (2, 2, 1, 4, 6), (3, 2, 2, 6, 6))]
    for _ in range(count):
        content, packed = rng.choice(kinds)
        if rng.random() < 0.6:
            data = mutated(rng.choice([packed, ended64(packed), far(packed)]), rng)
        else:
            lies = changed(json.loads(content[".zmetadata"]), rng)
            data = make.zipped(content | {".zmetadata": json.dumps(lies).encode()})
        refused += _refused(data)
    return refused


def _zarr_file(chunks: tuple[int, ...]) -> tuple[dict[str, bytes], bytes]:
    store: dict[str, Any] = {}
    group = make.zarr.group(store=store)
    group.create_dataset("bands", data=make.pixels(1, (3, 2, 2, 6, 6)), chunks=chunks)
    group.create_dataset("band", data=np.array(["B1", "B2"]))
    texts = {"object_codec": numcodecs.VLenUTF8(), "compressor": numcodecs.GZip(), "dtype": object}
    group.create_dataset("sample", data=np.array(["a", "b", "c"], object), **texts)
    group.create_dataset("center_lon", data=np.arange(3.0))
    group.create_dataset("time_", data=np.arange(6).reshape(3, 2) + 10**18)
    group.create_dataset("crs", data=np.arange(3), compressor=numcodecs.LZ4())
    group.create_dataset("cloud_mask", data=np.zeros((3, 2, 6, 6), np.uint8), chunks=(2, 1, 6, 6))
    make.zarr.consolidate_metadata(store)
    content = {name: bytes(value) for name, value in store.items()}
    return content, make.zipped(content)


def _refused(data: bytes) -> bool:
    store = Memory("fuzz", {"f.zarr.zip": data})
    try:
        samples = scan_zip(store, "f.zarr.zip", len(data))
        stat = store.list(ZIPS.suffix)["f.zarr.zip"]
        source = ManySource("x", store, merge([part("f.zarr.zip", stat, samples)]), check_crc=True)
        m = source.modality
        for i in range(min(len(source), 4)):
            dates = m.timestamps if source.columns.dates is None else source.columns.dates[i]
            out = np.empty((int(dates), *m.shape[1:]), m.dtype)
            source.read(i, list(range(int(dates))), out, Stages())
    except DataError as error:
        return is_sentence(error)
    return False


TARGETS: dict[str, Callable[[int, int], int]] = {
    "codecs": codecs, "directories": directories, "many": many,
}  # fmt: skip


def sound() -> bool:
    """What is mutated is read."""
    for chunks in ((1, 1, 1, 6, 6), (2, 2, 1, 4, 6)):
        _, data = _zarr_file(chunks)
        with zipfile.ZipFile(io.BytesIO(ended64(far(data)))) as archive:
            assert archive.testzip() is None
        if _refused(data) or _refused(ended64(far(data))):
            return False
    return True
