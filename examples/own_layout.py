"""A layout of your own: a folder of `.npy` files and a table, through the loader.

    python examples/own_layout.py [FOLDER]

makes a few arrays in the folder (a temporary one by default) and loads them. The layout is
``{root}/pixels/{key}.npy``, ``[T, C, H, W]`` each and all alike in C order, and
``{root}/places.csv`` with a row a key: ``key,lon,lat,date_0,date_1,...``.
"""

import csv
import io
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets import Columns, Modality, Source
from fastload.profile import Stages
from fastload.storage.store import Local

BANDS = ("B02", "B03", "B04", "B08")


class Arrays(Source):
    """The arrays of a folder. What engines ask of a source stands in `fastload.datasets.source`."""

    def __init__(self, name: str, root: Path) -> None:
        self.store = Local(root / "pixels")
        files = self.store.list(".npy")
        if not files:
            raise FileNotFoundError(f"{self.store.place}: expected arrays named *.npy, found none")
        self.files, self.sizes = list(files), [stat.size for stat in files.values()]
        head = io.BytesIO(self.store.bytes(self.files[0], 0, 1024))
        np.lib.format.read_magic(head)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(head)
        if len(shape) != 4 or shape[1] != len(BANDS) or fortran or not dtype.isnative:
            reason = f"expected [T, {len(BANDS)}, H, W] in C order, got {shape} of {dtype.str}"
            raise fastload.DataError(self.store.path(self.files[0]), "", 0, reason)
        T, C, H, W = shape
        self.start = head.tell()
        expected = self.start + T * C * H * W * dtype.itemsize
        for file, size in zip(self.files, self.sizes, strict=True):
            if size != expected:
                reason = f"expected {expected} bytes as {self.files[0]} has, got {size}"
                raise fastload.DataError(self.store.path(file), "", -1, reason)
        self.modality = Modality(name, T, C, H, W, dtype, BANDS)
        self.columns = self._columns(root / "places.csv", T)

    def _columns(self, table: Path, T: int) -> Columns:
        """What the table says of each array, in the order of the files."""
        with table.open(newline="") as file:
            rows = {row["key"]: row for row in csv.DictReader(file)}
        keys = [file.removesuffix(".npy") for file in self.files]
        lacking = [key for key in keys if key not in rows]
        if lacking:
            raise ValueError(f"{table}: {len(lacking)} arrays have no row, such as {lacking[0]}")
        dates = [[rows[key][f"date_{t}"] or "NaT" for t in range(T)] for key in keys]
        return Columns(
            key=np.array([key.encode() for key in keys]),
            lon=np.array([float(rows[key]["lon"] or "nan") for key in keys]),
            lat=np.array([float(rows[key]["lat"] or "nan") for key in keys]),
            time=np.array(dates, "datetime64[ns]").astype(np.int64),
            cloud=np.full((len(keys), T), np.nan, np.float32),
            group=np.zeros(len(keys), np.uint32),
        )

    def read(
        self, sample: int, timestamps: Sequence[int], out: NDArray[Any], stages: Stages
    ) -> None:
        """Read some dates of an array, and no others."""
        start = perf_counter()
        for t, plane in zip(timestamps, out, strict=True):
            offset = self.start + t * plane.nbytes
            flat = plane.reshape(-1).view(np.uint8)
            self.store.fetch(self.files[sample], self.sizes[sample], offset, flat)
        stages.read += perf_counter() - start


class OwnLayout(fastload.Dataset):
    """The layout as a dataset of one modality."""

    def __init__(self, root: str | Path, recipe: fastload.Recipe | None = None) -> None:
        source = Arrays("OWN", Path(root))
        none = fastload.Statistics("none", 0.0, {}, {})
        super().__init__({"OWN": source}, recipe, none, seed=0)


def make(root: Path, count: int = 12, timestamps: int = 3, size: int = 64) -> Path:
    """Write made data in the layout."""
    rng = np.random.default_rng(0)
    (root / "pixels").mkdir(parents=True, exist_ok=True)
    lines = ["key,lon,lat," + ",".join(f"date_{t}" for t in range(timestamps))]
    for i in range(count):
        pixels = rng.integers(0, 4000, (timestamps, len(BANDS), size, size)).astype(np.int16)
        np.save(root / "pixels" / f"{i:04d}.npy", pixels)
        dates = [f"2020-{2 + 3 * t:02d}-{1 + i:02d}" for t in range(timestamps)]
        lines.append(",".join([f"{i:04d}", f"{10 + i}", f"{50 - i}", *dates]))
    (root / "places.csv").write_text("\n".join(lines) + "\n")
    return root


def main(root: Path) -> None:
    """Make the data, load an epoch, say what came."""
    recipe = fastload.Recipe(
        views=(fastload.View(size=32, scale=(0.3, 1.0), hflip=0.5),) * 2,
        radiometry=fastload.Radiometry.standardise(mean=2000, std=1000),
    )
    dataset = OwnLayout(make(root), recipe)
    loader = fastload.DataLoader(dataset, batch_size=4, shuffle=True, num_workers=2, seed=1)
    for batch in loader:
        first, second = batch["OWN"]
        print(batch["key"], tuple(first.shape), tuple(second.shape), batch["season"][0].tolist())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            main(Path(folder))
