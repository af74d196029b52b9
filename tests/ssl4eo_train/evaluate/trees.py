"""Tiny trees in the layouts that tasks read, with pixels that are a function of a file's name."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.archives.trees import noise, tif
from fastload.bands import PUBLISHED
from ssl4eo_train.evaluate.tasks import dfc2020, oscd, potsdam, vaihingen
from ssl4eo_train.evaluate.trees.isprs import COLOURS

Pixels = NDArray[Any]
SIZE = 16
ONERA = "Onera Satellite Change Detection dataset - "


def picture(path: Path, pixels: Pixels) -> Pixels:
    """Write ``[H, W]`` or ``[H, W, 3]`` as PNG, JPEG or TIFF, by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def rgb(name: str, size: int = SIZE) -> Pixels:
    """``[H, W, 3]``."""
    return noise(name, (size, size, 3), np.uint8)


def classes(name: str, values: Sequence[int], size: int = SIZE) -> Pixels:
    """``[H, W]`` of some numbers, uint8."""
    return np.array(values, np.uint8)[noise(name, (size, size), np.uint8) % len(values)]


def so2sat_file(path: Path, count: int, **options: Any) -> Path:
    """Arrays of doubles, as shipped; `options` are h5py's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for array, bands in (("sen1", 8), ("sen2", 10)):
            file.create_dataset(
                array, data=so2sat_pixels(path.stem, array, count, bands), **options
            )
        file["label"] = np.eye(17)[so2sat_labels(path.stem, count)]
    return path


def so2sat_pixels(stem: str, array: str, count: int, bands: int) -> Pixels:
    """``[N, 32, 32, C]``, float64 in [0, 2.8]."""
    return noise(f"{stem}{array}", (count, 32, 32, bands), np.uint16) / 10000


def so2sat_labels(stem: str, count: int) -> Pixels:
    """``[N]``."""
    return noise(stem, (count,), np.uint8) % 17


def so2sat_tree(root: Path, files: Iterable[str] = ("training", "validation", "testing")) -> Path:
    for name in files:
        so2sat_file(root / f"{name}.h5", {"training": 12, "validation": 5, "testing": 4}[name])
    return root


AID = {"Airport": 5, "BareLand": 5, "Beach": 10}


def aid_tree(root: Path, top: str = "AID") -> Path:
    for name, count in AID.items():
        for i in range(1, count + 1):
            picture(root / top / name / f"{name.lower()}_{i}.jpg", rgb(f"{name}{i}"))
    return root


def oscd_tree(root: Path, zips: bool = True, native: bool = False, size: int = 20) -> Path:
    """As the three zips unpack, or a folder a city that has all; with images as ESA ships them."""
    for split, cities in (("Train", oscd.TRAIN), ("Test", oscd.TEST)):
        for city in cities:
            images = root / f"{ONERA}Images" / city if zips else root / city
            labels = root / f"{ONERA}{split} Labels" / city if zips else root / city
            for date in (1, 2):
                for band in oscd.NATIVE if native else PUBLISHED["S2L1C"]:
                    where = f"imgs_{date}" if native else f"imgs_{date}_rect"
                    named = f"S2A_{city}_{band}" if native else band
                    pixels = oscd_band(city, date, band, size + date if native else size)
                    tif(images / where / f"{named}.tif", pixels)
            picture(labels / "cm" / "cm.png", classes(city, (0, 255), size))
    return root


def oscd_band(city: str, date: int, band: str, size: int = 20) -> Pixels:
    """``[H, W]``, uint16."""
    return noise(f"{city}{date}{band}", (size, size))


def dfc_tree(root: Path, top: bool = True, sensors: Sequence[str] = ("s1", "s2")) -> Path:
    """Four chips to train and two to test, in both official folders or in the root."""
    for split, count in (("test", 4), ("validation", 2)):
        folder, end = dfc2020.FOLDERS[split]
        for i in range(count):
            for what in (*sensors, "dfc", "lc"):
                name = f"{folder}_{what}_{'0_' if split == 'test' else ''}p{i}.tif"
                place = root / folder if top else root
                tif(place / f"{what}_{end}" / name, dfc_pixels(split, what, i))
    return root


def dfc_pixels(split: str, what: str, i: int) -> Pixels:
    """``[C, H, W]``."""
    name, bands = f"{split}{what}{i}", {"s1": 2, "s2": 13, "dfc": 1, "lc": 4}[what]
    if what == "s1":
        return noise(name, (bands, SIZE, SIZE), np.float32)
    if what == "s2":
        return noise(name, (bands, SIZE, SIZE))
    return noise(name, (bands, SIZE, SIZE), np.uint8) % (11 if what == "dfc" else 18)


PAIRS = {"train": 5, "val": 2, "test": 3}


def pair_tree(root: Path, layout: str, label: str = "label", values: Any = (0, 255)) -> Path:
    """LEVIR-CD's ``folders``, ``flat`` as torchgeo has it, or ``list`` as BIT."""
    for split, count in PAIRS.items():
        names = [f"{split}_{i}.png" for i in range(1, count + 1)]
        top = root / split if layout == "folders" else root
        for name in names:
            picture(top / "A" / name, rgb(f"A{name}"))
            picture(top / "B" / name, rgb(f"B{name}"))
            picture(top / label / name, classes(name, values))
        if layout == "list":
            (root / "list").mkdir(exist_ok=True)
            (root / "list" / f"{split}.txt").write_text("".join(f"{n}\n" for n in names))
    return root


WHU = (40, 64)


def whu_tree(root: Path, divided: bool = False, top: str = "1. The two-period image data") -> Path:
    """One pair of whole images, or an official half each."""
    if not divided:
        whu_pair(root / top, ("before/before", "after/after", "change label/change_label"), "")
        return root
    for split in ("train", "test"):
        names = (
            f"2012/whole_image/{split}/image/2012_{split}",
            f"2016/whole_image/{split}/image/2016_{split}",
            f"change_label/{split}/change_label",
        )
        whu_pair(root / top, names, split)
    return root


def whu_pair(
    top: Path, names: Sequence[str], split: str, shape: tuple[int, int] = (40, 64)
) -> None:
    for name in names[:2]:
        tif(top / f"{name}.tif", noise(name, (3, *shape), np.uint8))
    tif(top / f"{names[2]}.tif", noise(f"label{split}", shape, np.uint8) % 2)


def loveda_tree(root: Path) -> Path:
    """`Test` has no masks."""
    for split, count in (("Train", 5), ("Val", 2), ("Test", 1)):
        for scene in ("Rural", "Urban"):
            for i in range(count):
                name = f"{split}/{scene}/{{}}/{i}.png"
                picture(root / name.format("images_png"), rgb(name))
                if split != "Test":
                    picture(root / name.format("masks_png"), classes(name, range(8)))
    return root


def coloured(name: str, more: Sequence[tuple[int, int, int]] = ()) -> Pixels:
    """``[3, H, W]``: a tile's labels, in the colours of the contests."""
    table = np.array([*COLOURS.values(), *more], np.uint8)
    found: Pixels = table[noise(name, (SIZE, SIZE), np.uint8) % len(table)]
    return found.transpose(2, 0, 1)


def potsdam_tree(root: Path, kind: str = "RGB", labels: str = "5_Labels_all") -> Path:
    folder, bands = potsdam.IMAGES[kind]
    bare = labels.endswith("oundary")
    for name in (*potsdam.Potsdam.train, *potsdam.Potsdam.test):
        image = noise(f"{name}{kind}", (len(bands), SIZE, SIZE), np.uint8)
        tif(root / folder / f"top_potsdam_{name}_{kind}.tif", image)
        end = "label_noBoundary" if bare else "label"
        tif(
            root / labels / f"top_potsdam_{name}_{end}.tif",
            coloured(name, [(0, 0, 0)] if bare else []),
        )
    return root


def vaihingen_tree(root: Path, above: str = "", labels: str = vaihingen.LABELS[True][1][0]) -> Path:
    bare = "eroded" in labels
    for name in (*vaihingen.Vaihingen.train, *vaihingen.Vaihingen.test):
        file = f"top_mosaic_09cm_area{name}"
        tif(root / above / "top" / f"{file}.tif", noise(name, (3, SIZE, SIZE), np.uint8))
        end = "_noBoundary" if bare else ""
        tif(root / labels / f"{file}{end}.tif", coloured(name, [(0, 0, 0)] if bare else []))
    return root


def folders_tree(root: Path, layout: str = "lists") -> Path:
    """``lists``, ``inside`` (``images/train``) or ``above`` (``train/images``)."""
    for split, count in (("train", 4), ("val", 2), ("test", 2)):
        names = [f"{split}{i}" for i in range(count)]
        places = {
            "lists": ("images", "masks"),
            "inside": (f"images/{split}", f"masks/{split}"),
            "above": (f"{split}/images", f"{split}/masks"),
        }[layout]
        for name in names:
            picture(root / places[0] / f"{name}.jpg", rgb(name))
            picture(root / places[1] / f"{name}.png", classes(name, (1, 2, 3, 9)))
        if layout == "lists":
            (root / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root


ROWS = [("a1", "wood", "train"), ("a2", "lake", "train"), ("a3", "wood", "train"),
        ("b1", "lake", "val"), ("c1", "moor", "test"), ("c2", "wood", "test")]  # fmt: skip


def csv_tree(
    root: Path, rows: Sequence[Sequence[str]] = ROWS, head: str = "key,label,split"
) -> Path:
    """Images of four bands, one of which is in no row."""
    for name in [*(row[0] for row in ROWS), "unused"]:
        tif(root / f"{name}.tif", noise(name, (4, SIZE, SIZE)))
    (root / "labels.csv").write_text("\n".join([head, *(",".join(row) for row in rows)]) + "\n")
    return root
