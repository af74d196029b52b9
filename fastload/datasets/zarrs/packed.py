"""What `python -m fastload pack` says of the shards that it wrote."""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastload.datasets.source import Kinds, Source
from fastload.datasets.zarrs.either_source import kind_column
from fastload.recipe import Recipe
from fastload.statistics import STATISTICS, Statistics, What
from fastload.statistics import statistics as found_statistics
from fastload.storage.errors import DataError
from fastload.storage.store import Store

FILE = "fastload.pack.json"
"""In the folder of a split."""
FORMAT = "fastload pack 1"
DEFAULT = "v1.1-webdataset"
"""The statistics of shards that say nothing."""


@dataclass(frozen=True)
class Packed:
    """What is known of packed shards.

    Attributes:
        place: of the file.
        statistics: what the pixels obey.
        modalities: by name, what the file says of each.
        same_ground: see `Dataset`.
    """

    place: str
    statistics: Statistics
    modalities: Mapping[str, Mapping[str, Any]]
    same_ground: bool

    def chosen(self, asked: What | None, recipe: Recipe | None) -> Statistics:
        """The statistics to go by: those that are asked for, or the shards' own.

        A warning says where the two put zero reflectance at other DN.

        Raises:
            ValueError: where a recipe asks for reflectance, and pixels were scaled to 8 bits.
        """
        self._check(recipe)
        if asked is None:
            return self.statistics
        found, ours = found_statistics(asked), self.statistics
        others = (found.dn_offset, found.dn_scale) != (ours.dn_offset, ours.dn_scale)
        if others or (self.scaled and found.name != ours.name):
            warnings.warn(
                f"{self.place}: these samples obey the statistics {ours.name!r}, zero reflectance "
                f"at {ours.dn_offset:g} DN, but {found.name!r} are asked for, with "
                f"{found.dn_offset:g} DN; leave `statistics` out to take theirs",
                stacklevel=4,
            )
        return found

    @property
    def scaled(self) -> list[str]:
        """Modalities whose pixels were scaled to 8 bits."""
        return [name for name, says in self.modalities.items() if "uint8" in says]

    def _check(self, recipe: Recipe | None) -> None:
        for name in self.scaled if recipe is not None else ():
            assert recipe is not None
            if recipe.radiometry_of(name).kind == "reflectance":
                raise ValueError(
                    f"{self.place}: {name} was packed as 8 bits, of which no reflectance is known; "
                    "expected another radiometry, such as two_sigma"
                )

    def columns(self, names: Sequence[str]) -> list[str]:
        """Columns that say of which kind samples of some modalities are."""
        return [kind_column(n) for n in names if self.modalities.get(n, {}).get("kinds")]

    def tell(self, name: str, source: Source) -> None:
        """Let a source say what the arrays themselves do not.

        Raises:
            DataError: where a sample is of a kind that the file does not list.
        """
        says = self.modalities.get(name)
        if says is None:
            return
        ground, fill = says.get("ground"), source.modality.fill_value
        source.modality = replace(
            source.modality,
            ground=tuple(ground) if ground else None,
            fill_value=fill if says.get("fill_value") is not None or "uint8" in says else None,
        )
        if says.get("kinds"):
            source.kinds = self._kinds(name, tuple(says["kinds"]), source)

    def _kinds(self, name: str, kinds: tuple[str, ...], source: Source) -> Kinds:
        told = source.columns.extra.get(kind_column(name), np.zeros(0, "S1"))
        flags = np.array([told == kind.encode() for kind in kinds]).reshape(len(kinds), -1)
        if not (flags.sum(axis=0) == 1).all() or flags.shape[1] != len(source):
            reason = f"column {kind_column(name)!r} must say one of {kinds} for each sample"
            raise DataError(self.place, "", -1, reason)
        return Kinds(kinds, flags.argmax(axis=0).astype(np.int8))


def packed(split: Store) -> Packed | None:
    """What lies beside the shards of a split; None where they were not packed.

    Raises:
        DataError: names the file, where it is damaged.
    """
    if FILE not in split.filenames(FILE):
        return None
    place = split.path(FILE)
    try:
        says = json.loads(split.content(FILE))
        if says["format"] != FORMAT:
            raise ValueError(f"format must be {FORMAT!r}, got {says['format']!r}")
        modalities = dict(says["modalities"])
        statistics = _statistics(says["statistics"], modalities)
        return Packed(place, statistics, modalities, bool(says["same_ground"]))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise DataError(place, "", -1, f"is not what packing wrote ({error!r})") from error


def _statistics(says: Mapping[str, Any], modalities: Mapping[str, Mapping[str, Any]]) -> Statistics:
    name, scaled = says["name"], any("uint8" in m for m in modalities.values())
    if name in STATISTICS and not scaled:
        return STATISTICS[name]
    each = says["modalities"]
    return Statistics(
        f"{name} (uint8)" if scaled else name,
        float(says["dn_offset"]),
        {m: tuple(v["mean"]) for m, v in each.items()},
        {m: tuple(v["std"]) for m, v in each.items()},
        {m: tuple(v["bands"]) for m, v in each.items() if "bands" in v},
        dn_scale=float(says["dn_scale"]),
    )
