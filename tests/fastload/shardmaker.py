"""Tiny shards in the published layout, written by zarr, zipfile and tarfile; read by zarr."""

import io
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray

LZ4 = Blosc(cname="lz4", clevel=5, shuffle=Blosc.SHUFFLE)
DAY = 86_400_000_000_000
KEYS = tuple(f"{i:07d}" for i in range(6))
T, C, H, W = 4, 3, 24, 24


def dates(number: int, steps: int) -> NDArray[np.int64]:
    """One date a quarter from 2020 on, another day for each sample; int64 ns ``[T]``."""
    start = np.datetime64("2020-01-05", "ns").astype(np.int64)
    return start + DAY * (91 * np.arange(steps, dtype=np.int64) + number)


def pixels(
    seed: int | str, shape: Sequence[int] = (T, C, H, W), dtype: Any = np.int16
) -> NDArray[Any]:
    """Smooth pixels with some noise, so that codecs have something to do; DN from about 200 on."""
    rng = np.random.default_rng(abs(hash(seed)) if isinstance(seed, int) else list(seed.encode()))
    base = np.cumsum(rng.integers(-9, 10, shape), axis=-1) + rng.integers(0, 4, shape)
    base = base - base.min() + 200
    dtype = np.dtype(dtype)
    return (base % 251 if dtype.itemsize == 1 else base).astype(dtype)


def group(
    bands: NDArray[Any],
    *,
    number: int = 0,
    chunks: Sequence[int] | None = None,
    compressor: Any = LZ4,
    order: str = "C",
    fill_value: Any = 0,
    separator: str = ".",
    filters: Any = None,
    lon: float = 10.0,
    lat: float = 50.0,
    cloud: NDArray[np.uint8] | None = None,
    consolidated: bool = True,
    absent: Iterable[str] = (),
) -> dict[str, bytes]:
    """A zarr v2 group of one sample as names and bytes, in the order of writing."""
    store: dict[str, Any] = {}
    root = zarr.group(store=store)

    def put(name: str, value: Any, **options: Any) -> None:
        value = np.asarray(value)
        a = root.create_dataset(name, shape=value.shape, dtype=value.dtype, **options)
        a[...] = value

    put(
        "bands",
        bands,
        chunks=tuple(chunks or (1, *bands.shape[1:])),
        compressor=compressor,
        order=order,
        fill_value=fill_value,
        filters=filters,
        dimension_separator=separator,
    )
    put("band", np.array([f"B{i:02d}" for i in range(bands.shape[1])]))
    put("center_lon", lon, compressor=None)
    put("center_lat", lat, compressor=None)
    put("time", dates(number, len(bands)))
    put("crs", 32633, compressor=None)
    if cloud is not None:
        put("cloud_mask", cloud, chunks=(1, *cloud.shape[1:]))
    if consolidated:
        zarr.consolidate_metadata(store)
    missing = set(absent)
    assert missing <= set(store), f"no members {missing - set(store)}"
    return {name: bytes(value) for name, value in store.items() if name not in missing}


def zipped(
    members: Mapping[str, bytes] | Sequence[tuple[str, bytes]],
    method: int = zipfile.ZIP_STORED,
    extra: bytes = b"",
    stream: bool = False,
) -> bytes:
    """A zip of members; `stream` writes data descriptors, `extra` a field of the headers."""
    pairs = list(members.items()) if isinstance(members, Mapping) else list(members)
    buffer = _Unseekable() if stream else io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as archive:
        warnings.simplefilter("ignore", UserWarning)  # names that stand twice
        for name, content in pairs:
            info = zipfile.ZipInfo(name, (2026, 2, 17, 0, 0, 0))
            info.compress_type, info.extra = method, extra
            archive.writestr(info, content)
    return buffer.getvalue()


class _Unseekable(io.BytesIO):
    """What a pipe is to zipfile, which then puts sizes and CRC behind the data."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: Any) -> int:
        raise io.UnsupportedOperation("seek")


def sample(number: int, modality: str = "S2L1C", **options: Any) -> bytes:
    """The `.zarr.zip` of a sample; pixels depend on modality and number."""
    return zipped(group(pixels(f"{modality} {number}"), number=number, **options))


def write_tar(path: Path, samples: Mapping[str, bytes], format: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar of `{key}.zarr.zip`; keys may hold folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as tar:
        for key, content in samples.items():
            info = tarfile.TarInfo(f"{key}.zarr.zip")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def shard(root: Path, modality: str = "S2L1C", number: int = 1, split: str = "train") -> Path:
    """Where the published layout keeps a shard."""
    return root / split / modality / f"ssl4eos12_shard_{number:06d}.tar"


def write(
    root: Path,
    modalities: Sequence[str] = ("S2L1C",),
    keys: Sequence[str] = KEYS,
    per_shard: int = 3,
    make: Callable[[int, str], bytes] = sample,
) -> Path:
    """A dataset: the number of a sample is its key as an integer."""
    for modality in modalities:
        for s, at in enumerate(range(0, len(keys), per_shard)):
            members = {k: make(int(k), modality) for k in keys[at : at + per_shard]}
            write_tar(shard(root, modality, s + 1), members)
    return root


def store_of(path: Path, key: str) -> dict[str, bytes]:
    """A sample's zip as names and bytes, read by tarfile and zipfile."""
    with tarfile.open(path) as tar:
        member = tar.extractfile(f"{key}.zarr.zip")
        assert member is not None
        archive = zipfile.ZipFile(io.BytesIO(member.read()))
        return {name: archive.read(name) for name in archive.namelist()}


def read_by_zarr(path: Path, key: str) -> NDArray[Any]:
    """Pixels ``[T, C, H, W]`` of a sample as the zarr library reads them."""
    found: NDArray[Any] = zarr.open_group(store_of(path, key), mode="r")["bands"][...]
    return found


def same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Equal to the bit in native byte order, so that NaN equals NaN."""
    b = b.astype(b.dtype.newbyteorder("="))
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
