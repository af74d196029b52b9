"""Sources of windows of scenes: one file a band or a date, GeoTIFF, PNG and masks of colours."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from PIL import Image

from fastload.datasets.scenes import pictures
from fastload.datasets.scenes.tables import Classes
from fastload.datasets.scenes.window_source import Layer
from fastload.datasets.scenes.windowed import windowed
from fastload.datasets.source import Source
from fastload.storage.store import Local
from tests.conformance.source import Damaged, Pixels, SourceTests

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning"),
]
SIZES = ((40, 52), (33, 48))
KEYS = ("abu", "rio")
WINDOW = 16
COLOURS = {(255, 255, 255): 0, (0, 0, 255): 1, (0, 255, 255): 2, (255, 0, 0): 255}


def noise(seed: str, shape: tuple[int, ...], dtype: Any = np.uint16) -> Pixels:
    """Random numbers of all of a dtype's range."""
    rng = np.random.default_rng(list(seed.encode()))
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def tif(path: Path, pixels: Pixels, **options: Any) -> str:
    """Write a TIFF; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    C, H, W = pixels.shape
    shape = {"count": C, "height": H, "width": W, "dtype": pixels.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options) as file:
        file.write(pixels)
    return path.name


def png(path: Path, pixels: Pixels) -> str:
    """Write a PNG; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)).save(path)
    return path.name


def cuts(scene: Pixels, fill: int) -> Pixels:
    """All windows ``[N, ..., h, w]`` of a scene ``[..., H, W]``, those at the border padded."""
    H, W = scene.shape[-2:]
    more = [(0, -n % WINDOW) for n in (H, W)]
    padded = np.pad(scene, [(0, 0)] * (scene.ndim - 2) + more, constant_values=fill)
    rows, columns = (range(0, n, WINDOW) for n in padded.shape[-2:])
    return np.stack([padded[..., r : r + WINDOW, c : c + WINDOW] for r in rows for c in columns])


class TestBands(SourceTests):
    """A file a band, two dates, some bands in another order; windows over the border are padded."""

    options: ClassVar[dict[str, Any]] = {"compress": "deflate", "predictor": 2}

    def write(self, root: Path) -> tuple[Layer, Pixels]:
        files, scenes = [], []
        for key, size in zip(KEYS, SIZES, strict=True):
            pixels = noise(key, (2, 3, *size))
            names = [[f"{key}/{t}/B0{b}.tif" for b in range(3)] for t in range(2)]
            for t in range(2):
                for b in range(3):
                    tif(root / names[t][b], pixels[t, b : b + 1], **self.options)
            files.append(names)
            scenes.append(cuts(pixels[:, [2, 0]], 7))
        layer = Layer(files=files, names=("B00", "B01", "B02"), bands=("B2", "B0"), pad=7)
        return layer, np.concatenate(scenes)

    def open(self, root: Path, layer: Layer) -> Source:
        return windowed(Local(root), KEYS, {"S2L1C": layer}, WINDOW, border="pad").sources["S2L1C"]

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        layer, pixels = self.write(tmp_path)
        return self.open(tmp_path, layer), pixels

    def damaged(self, tmp_path: Path) -> Damaged:
        """A file that was cut short, of a scene with a single window."""
        names = [[[f"{key}.tif"]] for key in KEYS]
        for [[name]] in names:
            tif(tmp_path / name, noise(name, (3, 16, 16)))
        layer = Layer(files=names, names=("R", "G", "B"))
        source = windowed(Local(tmp_path), KEYS, {"RGB": layer}).sources["RGB"]
        path = tmp_path / names[1][0][0]
        path.write_bytes(path.read_bytes()[:-300])
        return Damaged(source, 1, 0)


class TestTiles(TestBands):
    """Tiled, and too large to be kept whole: only the tiles below a window are read."""

    options: ClassVar[dict[str, Any]] = {
        "tiled": True,
        "blockxsize": 16,
        "blockysize": 32,
        "compress": "lzw",
    }

    @pytest.fixture(autouse=True)
    def nothing_is_small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pictures, "_WHOLE", 0)


class TestPNG(SourceTests):
    """One PNG a scene, and a small store of decoded files that never has room."""

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        pixels = [noise(key, (1, 3, 32, 48), np.uint8) for key in KEYS]
        files = [[[png(tmp_path / f"{k}.png", p[0])]] for k, p in zip(KEYS, pixels, strict=True)]
        layer = Layer(files=files, names=("R", "G", "B"))
        data = windowed(Local(tmp_path), KEYS, {"RGB": layer}, WINDOW, most_bytes=100)
        return data.sources["RGB"], np.concatenate([cuts(p, 0) for p in pixels])

    def damaged(self, tmp_path: Path) -> Damaged:
        files = [[[png(tmp_path / f"{k}.png", noise(k, (3, 32, 32), np.uint8))]] for k in KEYS]
        layer = Layer(files=files, names=("R", "G", "B"))
        source = windowed(Local(tmp_path), KEYS, {"RGB": layer}).sources["RGB"]
        path = tmp_path / "abu.png"
        path.write_bytes(path.read_bytes()[:-1000])
        return Damaged(source, 0, 0)


class TestMasks(SourceTests):
    """Colours become classes; what hangs over the border is ignored."""

    def make(self, tmp_path: Path) -> tuple[Source, Pixels]:
        classes = [noise(key, size, np.uint8) % 3 for key, size in zip(KEYS, SIZES, strict=True)]
        colours = np.array(list(COLOURS), np.uint8)
        files = [
            [[png(tmp_path / f"{key}.png", colours[c].transpose(2, 0, 1))]]
            for key, c in zip(KEYS, classes, strict=True)
        ]
        layer = Layer(files=files, names=("class",), classes=Classes(COLOURS), pad=255)
        data = windowed(Local(tmp_path), KEYS, {"mask": layer}, WINDOW, border="pad")
        return data.sources["mask"], np.concatenate([cuts(c[None, None], 255) for c in classes])

    def damaged(self, tmp_path: Path) -> Damaged:
        """A colour that no class has."""
        source, _ = self.make(tmp_path)
        white = np.full((3, *SIZES[1]), 255, np.uint8)
        white[:, -1, -1] = (1, 2, 3)
        png(tmp_path / "rio.png", white)
        return Damaged(source, len(source) - 1, 0)
