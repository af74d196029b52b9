"""The same made scenes, written in each layout, in true sizes and file formats."""

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload import SSL4EOS12

Pixels = NDArray[Any]
KEPT = {"compress": "deflate", "predictor": 2}
"""How GeoTIFF trees are compressed, losslessly."""


def scenes(source: SSL4EOS12, modality: str) -> Iterator[tuple[int, Pixels]]:
    """Number and pixels ``[T, C, H, W]`` of every sample."""
    for i in range(len(source)):
        yield i, source.read(modality, i)


def day(source: SSL4EOS12, sample: int, t: int) -> datetime:
    """When a timestamp of a sample was."""
    return datetime.fromtimestamp(int(source.all_times[sample, t]) // 10**9, UTC)


def tif(path: Path, pixels: Pixels, **options: Any) -> None:
    """Write ``[C, H, W]`` as a GeoTIFF of 10 m a pixel, or what 2640 m make of others."""
    import rasterio
    from rasterio.transform import from_origin

    C, H, W = pixels.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    transform = from_origin(400_000, 5_300_000, 2640 / W, 2640 / H)
    with rasterio.open(
        path, "w", driver="GTiff", count=C, height=H, width=W, dtype=pixels.dtype,
        crs="EPSG:32633", transform=transform, **options,
    ) as file:  # fmt: skip
        file.write(pixels)


SECO = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
NATIVE = {"B01": 6, "B05": 2, "B06": 2, "B07": 2, "B8A": 2, "B09": 6, "B10": 6, "B11": 2, "B12": 2}
"""How many pixels of 10 m a band's pixel is wide; 1 for the others."""


def native(pixels: Pixels, band: str) -> Pixels:
    """A band ``[H, W]`` on its own grid."""
    step = NATIVE.get(band, 1)
    return np.ascontiguousarray(pixels[step // 2 :: step, step // 2 :: step])


def short(band: str) -> str:
    """B01 as SSL4EO-S12 v1.0 and SeCo have it: B1."""
    return band if band == "B8A" else f"B{int(band[1:])}"


def zarr_files(source: SSL4EOS12, modality: str, root: Path, a_file: int = 64) -> None:
    """SSL4EO-S12 v1.1 as of March 2025: 64 locations a file, one chunk a timestamp."""
    import zarr
    from numcodecs import Blosc

    folder = root / "train" / modality
    folder.mkdir(parents=True)
    every = dict(scenes(source, modality))
    for number, first in enumerate(range(0, len(every), a_file), 1):
        path = folder / f"ssl4eos12_train_seasonal_data_{number:06d}.zarr.zip"
        some = range(first, min(first + a_file, len(every)))
        pixels = np.stack([every[i] for i in some]) + np.int16(1000)
        store = zarr.ZipStore(str(path), compression=0, mode="w")
        group = zarr.group(store=store)
        chunks = (1, 1, *pixels.shape[2:])
        group.array("bands", pixels, chunks=chunks, compressor=Blosc("lz4", 5, Blosc.SHUFFLE))
        named = {"time": source.all_times, "center_lat": source.lat, "center_lon": source.lon}
        for name, column in named.items():
            group.array(name, column[list(some)])
        group.array("sample_id", np.array([source.keys[i] for i in some], "U10"))
        for name in group:
            axes = ["sample", "time", "band", "y", "x"] if name == "bands" else ["sample", "time"]
            group[name].attrs["_ARRAY_DIMENSIONS"] = axes[: group[name].ndim]
        group["time"].attrs["units"] = "nanoseconds since 1970-01-01"
        zarr.consolidate_metadata(store)
        store.close()


def v10(source: SSL4EOS12, modality: str, root: Path) -> None:
    """SSL4EO-S12 v1.0: one file a band, each on its own grid."""
    bands = source.modalities[modality].band_names
    for i, pixels in scenes(source, modality):
        for t, image in enumerate(pixels):
            when = f"{day(source, i, t):%Y%m%dT%H%M%S}"
            folder = root / "s2c" / f"{i:07d}" / f"{when}_{when}_T33UUP"
            for name, band in zip(bands, image, strict=True):
                tif(folder / f"{short(name)}.tif", native(band, name)[None].astype("uint16"))


def seco(source: SSL4EOS12, modality: str, root: Path) -> None:
    """SeCo: one file a band, 8 bits, JPEG inside."""
    bands = source.modalities[modality].band_names
    for i, pixels in scenes(source, modality):
        for t, image in enumerate(pixels):
            when = f"{day(source, i, t):%Y%m%dT%H%M%S}"
            folder = root / "seasonal_contrast_100k" / f"{i:06d}" / f"{when}_{when}_T33UUP"
            for name, band in zip(bands, image, strict=True):
                if name != "B10":
                    low = np.clip(band / 10000 * 255, 0, 255).astype(np.uint8)
                    tif(folder / f"{short(name)}.tif", native(low, name)[None], compress="jpeg")


def one_date(source: SSL4EOS12, modality: str, root: Path) -> None:
    """TerraMesh: shards as those of SSL4EO-S12 v1.1, one date a sample."""
    import zarr
    from numcodecs import Blosc

    folder = root / "train" / modality
    folder.mkdir(parents=True)
    with tarfile.open(folder / "majortom_shard_000001.tar", "w") as tar:
        for i, pixels in scenes(source, modality):
            store: dict[str, Any] = {}
            group = zarr.group(store=store)
            chunks = (1, *pixels.shape[1:])
            group.array("bands", pixels[:1], chunks=chunks, compressor=Blosc("lz4", 5))
            group.array("time", source.all_times[i, :1])
            group.array("center_lat", np.float64(source.lat[i]))
            group.array("center_lon", np.float64(source.lon[i]))
            zarr.consolidate_metadata(store)
            member(tar, f"{source.keys[i]}.zarr.zip", zipped(store))


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip of stored members."""
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, bytes(content))
    return out.getvalue()


def member(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a member."""
    about = tarfile.TarInfo(name)
    about.size = len(content)
    tar.addfile(about, io.BytesIO(content))


def geotiffs(source: SSL4EOS12, modality: str, root: Path) -> None:
    """A folder of GeoTIFFs, one file a date."""
    for i, pixels in scenes(source, modality):
        for t, image in enumerate(pixels):
            when = f"{day(source, i, t):%Y%m%d}"
            tif(root / source.keys[i] / f"{when}.tif", image, **KEPT)


def eurosat(source: SSL4EOS12, modality: str, root: Path) -> None:
    """EuroSAT's 13 bands: chips of 64 px in folders by class, B8A last."""
    names = ("AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
             "PermanentCrop", "Residential", "River", "SeaLake")  # fmt: skip
    bands = list(source.modalities[modality].band_names)
    order = [i for i, name in enumerate(bands) if name != "B8A"] + [bands.index("B8A")]
    folder, n = root / "ds" / "images" / "remote_sensing" / "otherDatasets", 0
    folder = folder / "sentinel_2" / "tif"
    for i, pixels in scenes(source, modality):
        for image in pixels:
            kind = names[i % len(names)]
            chip = image[order, :64, :64].astype("uint16")
            tif(folder / kind / f"{kind}_{(n := n + 1)}.tif", chip)
    every = [f"{path.stem}.jpg" for path in sorted(folder.glob("*/*"))]
    (root / "eurosat-train.txt").write_text("\n".join(every))


def bigearthnet(source: SSL4EOS12, modality: str, root: Path) -> None:
    """BigEarthNet v1: patches of 120 px, one file a band, labels in a json."""
    from rasterio.crs import CRS

    crs = CRS.from_epsg(32633).to_wkt()
    bands = source.modalities[modality].band_names
    for i, pixels in scenes(source, modality):
        for t, image in enumerate(pixels):
            when = f"{day(source, i, t):%Y%m%dT%H%M%S}"
            patch = f"S2A_MSIL2A_{when}_{i}_{t}"
            folder = root / "BigEarthNet-v1.0" / patch
            for name, band in zip(bands, image, strict=True):
                if name != "B10":
                    crop = native(band[:120, :120], name)[None].astype("uint16")
                    tif(folder / f"{patch}_{name}.tif", crop)
            about = {
                "labels": ["Coniferous forest", "Water bodies"],
                "coordinates": {"ulx": 400000, "uly": 5300000, "lrx": 401200, "lry": 5298800},
                "projection": crs,
                "tile_source": f"S2A_MSIL2A_{when}.SAFE",
                "acquisition_date": f"{day(source, i, t):%Y-%m-%d %H:%M:%S}",
            }
            (folder / f"{patch}_labels_metadata.json").write_text(json.dumps(about))
    every = [f"{path.name},none" for path in sorted((root / "BigEarthNet-v1.0").iterdir())]
    (root / "bigearthnet-train.csv").write_text("\n".join(every))


def cells(source: SSL4EOS12, modality: str, root: Path) -> None:
    """Copernicus-Pretrain: a `.pth` of all local patches and dates of a cell, and its json."""
    import torch

    a_cell = 4
    root.mkdir(parents=True, exist_ok=True)
    every = dict(scenes(source, modality))
    with tarfile.open(root / "example-000000.tar", "w") as tar:
        for first in range(0, len(every) - a_cell + 1, a_cell):
            some = range(first, first + a_cell)
            key = f"{first:07d}"
            out = io.BytesIO()
            torch.save(torch.from_numpy(np.stack([every[i] for i in some])), out)
            place = f"{key}_{source.lon[first]:.2f}_{source.lat[first]:.2f}"
            dates = [
                [
                    [f"{place}/{i:07d}_{source.lon[i]:.2f}_{source.lat[i]:.2f}"
                     f"/{day(source, i, t):%Y%m%d}"]
                    for t in range(source.timestamps)
                ]
                for i in some
            ]  # fmt: skip
            member(tar, f"{key}.s2_toa.pth", out.getvalue())
            member(tar, f"{key}.json", json.dumps({"s2_toa": dates}).encode())
