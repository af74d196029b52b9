"""The layouts of the table: how each is written, opened, and read by its users today."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.archives import peers, written
from benchmarks.measure import Stream
from fastload import SSL4EOS12

Peer = Callable[[Path, str, int, int], Stream]
Write = Callable[[SSL4EOS12, str, Path], None]


@dataclass(frozen=True)
class Case:
    """A layout.

    Attributes:
        write: the scenes, below a folder.
        peer: today's way to batches of two dates a sample; its name.
        modality: what `fastload.open` calls it.
        image: side of a view in pixels.
        samples: of a batch of the peer; None: as many as asked for.
        options: of `fastload.open`.
    """

    write: Write
    peer: Peer
    peer_name: str
    modality: str = "S2L1C"
    image: int = 224
    samples: int | None = None
    options: dict[str, Any] = field(default_factory=dict)


RASTERIO = "rasterio file by file, as torchgeo"
CASES = {
    "ssl4eo_zarr": Case(
        written.zarr_files, peers.zarr_files, "published: zarr, whole files", samples=64
    ),
    "ssl4eo_v10": Case(written.v10, peers.Trees("s2c/*/*", 264), RASTERIO),
    "seco": Case(written.seco, peers.Trees("seasonal_contrast_100k/*/*", 264), RASTERIO),
    "terramesh": Case(written.one_date, peers.zarr_shards, "published: webdataset, zarr"),
    "copernicus": Case(
        written.cells, peers.pth_shards, "published: webdataset, torch.load", modality="s2_toa",
        options={"patches": "each"},
    ),
    "geotiffs": Case(
        written.geotiffs, peers.Trees("*/*.tif", 264), RASTERIO,
        options={"pattern": "{key}/{date}.tif"},
    ),
    "bigearthnet": Case(
        written.bigearthnet, peers.Trees("BigEarthNet-v1.0/*", 120, alone=True), RASTERIO,
        modality="S2L2A", image=112,
    ),
    "eurosat": Case(
        written.eurosat, peers.Trees("**/*.tif", 64, alone=True), RASTERIO, image=56
    ),
}  # fmt: skip
