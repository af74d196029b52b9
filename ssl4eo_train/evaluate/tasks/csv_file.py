"""Labels in a csv over GeoTIFFs: classification of one's own, one label an image or several.

The csv has a column of files or keys, one of labels, and one that says which split a row is of
(train, val or test; without a val, some of train validate). The images lie in any way that
`fastload.datasets.geotiffs` reads; those that no row names are left out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.geotiffs import GeoTIFFs
from fastload.datasets.labels.listed import names_in
from fastload.statistics import Statistics, What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.errors import DataError
from ssl4eo_train.evaluate.held_out import Validation, validating
from ssl4eo_train.evaluate.task import Bands, Splits, Task
from ssl4eo_train.evaluate.trees.columns import labelled
from ssl4eo_train.evaluate.trees.tree import Tree
from ssl4eo_train.methods.common import expect

SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
"""What a row may say, and what that is."""
_SUFFIX = re.compile(r"\.tiff?$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Options(Validation):
    """What may be set."""

    file: str = "labels.csv"
    """In the root."""
    key: str = "key"
    """Column of the images' keys, or of their files' names."""
    label: str = "label"
    """Column of the label, or labels."""
    separator: str = ""
    """Between several labels; by default an image has one."""
    split: str = "split"
    """Column of the split."""
    classes: tuple[str, ...] = ()
    """Names of all classes, in their order; by default those there are, sorted."""
    images: str = ""
    """Folder of the images in the root."""
    pattern: str = ""
    """How they are named, see `GeoTIFFs`."""
    modality: str = ""
    """What the images are, such as S2L2A, where they do not lie in folders by modality."""
    bands: tuple[str, ...] = ()
    """Names of the stored bands of the one modality; by default as `GeoTIFFs` has it."""
    statistics: str = ""
    """A set's name or a JSON file, see `fastload.statistics`; else reflectances are by"""
    dn_offset: float = 0.0
    """what 0 is on disk, and"""
    dn_scale: float = 10000.0
    """what 1 adds to it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        expect(self.dn_scale > 0, "dn_scale", self.dn_scale, "a number above 0")

    @property
    def units(self) -> What:
        """Statistics of the images."""
        if self.statistics:
            return found_statistics(self.statistics)
        return Statistics("--task-options", self.dn_offset, {}, {}, dn_scale=self.dn_scale)


class CSV(Task):
    """See the module."""

    metric = "accuracy"
    size = 224
    settable = Options
    options: Options

    def __init__(self, options: Options | None = None) -> None:
        super().__init__(options)
        if self.options.separator:
            self.kind, self.metric = "labels", "map_micro"
        else:
            self.kind = "class"

    def offers(self, root: Place) -> dict[str, tuple[str, ...]]:
        """See `Task.offers`."""
        images = self._images(root, None)
        return {name: m.band_names for name, m in images.modalities.items()}

    def splits(self, root: Place, bands: Bands, seed: int) -> Splits:
        """See `Task.splits`."""
        rows = self._rows(Tree(at(root)))
        path = Tree(at(root)).path(self.options.file)
        self.classes = self._classes(rows, path)
        images = self._images(root, bands)
        lacking = sorted(set(rows) - set(images.keys))
        if lacking:
            reason = f"names {lacking[0]}, of which there is no image, as of {len(lacking)} in all"
            raise DataError(path, "", -1, reason)
        some = images.subset(sorted(rows))
        named = labelled(some, self._labels([rows[key] for key in some.keys], path))
        return self._divided(named, [rows[key]["split"] for key in some.keys], path)

    def _divided(self, images: fastload.Dataset, split: Sequence[str], path: str) -> Splits:
        of = {name: np.flatnonzero(np.array(split) == name) for name in ("train", "val", "test")}
        for name in ("train", "test"):
            if not len(of[name]):
                there = ", ".join(sorted(set(split)))
                reason = f"column {self.options.split!r} has no {name}, only {there}"
                raise DataError(path, "", -1, reason)
        train, test = images.subset(of["train"]), images.subset(of["test"])
        told = f"column {self.options.split!r} of {self.options.file}"
        if len(of["val"]):
            return Splits(train, images.subset(of["val"]), test, told)
        train, val, chosen = validating(train, self.options)
        return Splits(train, val, test, f"{told}; {chosen}")

    def _images(self, root: Place, bands: Bands | None) -> GeoTIFFs:
        o = self.options
        return GeoTIFFs(
            at(root).below(o.images) if o.images else at(root),
            o.modality or (None if bands is None else list(bands)),
            o.pattern or None,
            statistics=o.units,
            band_names=tuple(map(str, o.bands)) or None,
            bands=None if bands is None else dict(bands),
            coordinates=False,
        )

    def _rows(self, tree: Tree) -> dict[str, dict[str, str]]:
        """By key, the cells by what they are."""
        o, path = self.options, tree.path(self.options.file)
        head, *lines = names_in(tree.store, tree.file(o.file), "")
        columns = {"key": o.key, "label": o.label, "split": o.split}
        for what, column in columns.items():
            if head.count(column) != 1:
                reason = f"has no column {column!r} ({what}=...), only {', '.join(head)}"
                raise DataError(path, "", -1, reason)
        rows = dict[str, dict[str, str]]()
        for number, line in enumerate(lines, 2):
            if len(line) != len(head):
                reason = f"has {len(line)} cells, expected {len(head)} as the first line"
                raise DataError(path, f"line {number}", -1, reason)
            row = {what: line[head.index(column)] for what, column in columns.items()}
            key = _SUFFIX.sub("", row["key"].replace("\\", "/").rpartition("/")[2])
            if key in rows:
                raise DataError(path, f"line {number}", -1, f"key {key!r} is there more than once")
            rows[key] = {**row, "split": self._split(row["split"], path, number)}
        return rows

    def _split(self, said: str, path: str, number: int) -> str:
        if said not in SPLITS:
            reason = f"says {self.options.split} {said!r}, expected one of {', '.join(SPLITS)}"
            raise DataError(path, f"line {number}", -1, reason)
        return SPLITS[said]

    def _named(self, row: dict[str, str]) -> list[str]:
        """The labels of a row."""
        if not self.options.separator:
            return [row["label"]]
        return [name.strip() for name in row["label"].split(self.options.separator) if name.strip()]

    def _classes(self, rows: dict[str, dict[str, str]], path: str) -> tuple[str, ...]:
        if self.options.classes:
            return tuple(map(str, self.options.classes))
        found = {name for row in rows.values() for name in self._named(row)} - {""}
        whole = all(re.fullmatch(r"-?\d+", name) for name in found)
        if len(found) < 2:
            raise DataError(path, "", -1, f"has the labels {sorted(found)}, expected two at least")
        return tuple(sorted(found, key=int)) if whole else tuple(sorted(found))

    def _labels(self, rows: list[dict[str, str]], path: str) -> NDArray[Any]:
        """Class numbers ``[N]``, or 0 and 1 ``[N, K]``."""
        number = {name: k for k, name in enumerate(self.classes)}
        for row in rows:
            wrong = [name for name in self._named(row) if name not in number]
            if wrong:
                known = ", ".join(self.classes[:12])
                reason = f"has the label {wrong[0]!r}, expected one of {known}"
                raise DataError(path, row["key"], -1, reason)
        named = [self._named(row) for row in rows]
        if not self.options.separator:
            return np.array([number[name] for [name] in named], np.int64)
        hot = np.zeros((len(rows), len(self.classes)), np.int64)
        for i, names in enumerate(named):
            hot[i, [number[name] for name in names]] = 1
        return hot
