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
        peer: today's way to batches of two dates a sample, or of one where there is one; its name.
        geo: torchgeo's own dataset, which is the peer where it is installed.
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
    geo: peers.TorchGeo | None = None

    @property
    def rival(self) -> tuple[Peer, str]:
        """The peer and its name."""
        if self.geo is not None and peers.has_torchgeo():
            return self.geo, f"torchgeo {self.geo.name}"
        return self.peer, self.peer_name


RASTERIO = "rasterio file by file, as torchgeo"
CASES = {
    "ssl4eo_zarr": Case(
        written.zarr_files, peers.zarr_files, "published: zarr, whole files", samples=64
    ),
    "ssl4eo_v10": Case(
        written.v10, peers.Trees("s2c/*/*", 264), RASTERIO,
        geo=peers.TorchGeo("SSL4EOS12", "s2c/*", split="s2c", seasons=2),
    ),
    "seco": Case(
        written.seco, peers.Trees("seasonal_contrast_100k/*/*", 264), RASTERIO, modality="S2L2A",
        geo=peers.TorchGeo("SeasonalContrastS2", "seasonal_contrast_100k/*", version="100k",
                           seasons=2, bands=written.SECO),
    ),
    "terramesh": Case(written.one_date, peers.zarr_shards, "published: webdataset, zarr"),
    "copernicus": Case(
        written.cells, peers.pth_shards, "published: webdataset, torch.load", modality="s2_toa",
        options={"patches": "each"},
    ),
    "geotiffs": Case(
        written.geotiffs, peers.Trees("*/*.tif", 264), RASTERIO,
        options={"pattern": "{key}/{date}.tif", "statistics": "v1.0"},
    ),
    "bigearthnet": Case(
        written.bigearthnet, peers.Trees("BigEarthNet-v1.0/*", 120, alone=True), RASTERIO,
        modality="S2L2A", image=112,
    ),
    "eurosat": Case(
        written.eurosat, peers.Trees("**/*.tif", 64, alone=True), RASTERIO, image=56,
        geo=peers.TorchGeo("EuroSAT", "ds/images/remote_sensing/otherDatasets/sentinel_2/tif/*/*",
                           split="train"),
    ),
}  # fmt: skip
