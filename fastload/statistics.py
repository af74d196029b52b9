"""Band statistics: named sets, or the user's own. Nothing is guessed: a dataset says which it has.

The two v1.1 releases of SSL4EO-S12 differ by exactly 1000 DN in every Sentinel-2 band: the one of
zarr chunk files carries the offset of ESA's processing baseline 04.00, the one of WebDataset tars
does not. Sources: the statistics in the v1.0 and v1.1 repositories' loaders. TerraMesh carries the
offset in some samples and not in others, see `fastload.datasets.terramesh`; its set says 0, as the
later version of its paper does.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from fastload import statistics_file
from fastload import statistics_numbers as numbers
from fastload.bands import PUBLISHED, Shown, places, plain
from fastload.statistics_file import OWN

Numbers = Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per band, in the units on disk, of one release of a dataset.

    Raises:
        ValueError: names the modality and the field that does not fit.
    """

    name: str
    dn_offset: float
    """DN of zero reflectance in Sentinel-2 modalities: reflectance = (DN - offset) / scale."""
    mean: Numbers
    std: Numbers
    bands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of the bands by modality; bands are then looked up by them. A modality without names
    has its bands as stored, all of them."""
    details: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What else is known of a modality: `min`, `max` and by level `quantiles`, of each band; the
    numbers of `pixels`, and of those left out. Nothing here uses it."""
    dn_scale: float = 10000.0
    """DN that a reflectance of 1 adds to those of zero."""

    def __post_init__(self) -> None:
        statistics_file.check(
            self.name, self.dn_offset, self.dn_scale, self.mean, self.std, self.bands
        )

    def of(
        self, modality: str, bands: int | Shown
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation ``[C]`` of the bands that a modality shows, or of so many.

        Raises:
            ValueError: where the set lacks the modality or a band, or has another number of bands.
        """
        shown = Shown(bands) if isinstance(bands, int) else bands
        if modality not in self.mean:
            raise ValueError(
                f"statistics {self.name!r} have no modality {modality!r}, only {list(self.mean)}; "
                + OWN
            )
        at = self._places(modality, shown)
        mean, std = np.array(self.mean[modality])[at], np.array(self.std[modality])[at]
        if not (std > 0).all():
            raise ValueError(
                f"statistics {self.name!r}: a standard deviation of {modality} is 0, so that it "
                f"cannot be divided by: {std.tolist()}"
            )
        return mean, std

    def _places(self, modality: str, shown: Shown) -> list[int]:
        """Which of the set's bands are shown."""
        count = len(self.mean[modality])
        names = self.bands.get(modality, ()) or self._published(modality, shown)
        if names and shown.names:
            return list(places(shown.names, names, f"{modality} in statistics {self.name!r}"))
        stored = shown.count if shown.picked is None else shown.stored
        if count != stored:
            raise ValueError(
                f"statistics {self.name!r} have {count} bands for {modality}, "
                f"the data has {stored}; {OWN}"
            )
        return list(range(count)) if shown.picked is None else list(shown.picked)

    def _published(self, modality: str, shown: Shown) -> tuple[str, ...]:
        """The sets of this package are in the published order; files may be in another one."""
        names = PUBLISHED.get(modality, ())
        known = {plain(name) for name in names}
        ours = STATISTICS.get(self.name) is self and len(names) == len(self.mean[modality])
        return names if ours and all(plain(name) in known for name in shown.names) else ()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a JSON file that `load` reads, whole or not at all."""
        modalities = {
            name: {
                **({"bands": list(self.bands[name])} if name in self.bands else {}),
                "mean": list(self.mean[name]),
                "std": list(self.std[name]),
                **self.details.get(name, {}),
            }
            for name in self.mean
        }
        statistics_file.write(Path(path), self.name, self.dn_offset, self.dn_scale, modalities)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Statistics":
        """Read what `save` or ``python -m fastload stats`` wrote.

        Raises:
            FileNotFoundError: where there is no such file.
            ValueError: names the file, the field and what was expected.
        """
        try:
            return cls(**statistics_file.read(Path(path)))
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


What = Union[str, "os.PathLike[str]", Statistics]
"""The name of a set, a set, or the path of a JSON file."""


def _without_offset(mean: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    return {
        m: tuple(round(x - 1000, 3) for x in v) if m in ("S2L1C", "S2L2A") else v
        for m, v in mean.items()
    }


def _same(number: float, of: Numbers) -> Numbers:
    """One number for all bands."""
    return {m: (number,) * len(v) for m, v in of.items()}


STATISTICS = {
    s.name: s
    for s in (
        Statistics("v1.0", 0.0, numbers.V10_MEAN, numbers.V10_STD),
        # The 8-bit release: mean - 2 std to mean + 2 std, clipped, as 0 to 255. Clipping apart,
        # that makes these numbers of every band's.
        Statistics(
            "v1.0-8bit", 0.0, _same(127.5, numbers.V10_MEAN), _same(255 / 4, numbers.V10_MEAN)
        ),
        Statistics(
            "v1.1-webdataset",
            0.0,
            _without_offset(numbers.V11_MEAN) | numbers.MORE_MEAN,
            numbers.V11_STD | numbers.MORE_STD,
        ),
        # Its downloader takes reflectance from 0 to 1 to 0 to 255, and casts.
        Statistics("seco", 0.0, {}, {}, dn_scale=255.0),
        Statistics("v1.1-zarr", 1000.0, numbers.V11_MEAN, numbers.V11_STD),
        Statistics("copernicus-fm", 0.0, numbers.CFM_MEAN, numbers.CFM_STD),
        Statistics("terramesh", 0.0, numbers.TERRAMESH_MEAN, numbers.TERRAMESH_STD),
        Statistics("eurosat", 0.0, numbers.EUROSAT_MEAN, numbers.EUROSAT_STD),
        Statistics("bigearthnet", 0.0, numbers.BIGEARTHNET_MEAN, numbers.BIGEARTHNET_STD),
        # Reflectance itself is on disk.
        Statistics(
            "so2sat",
            0.0,
            numbers.SO2SAT_MEAN,
            numbers.SO2SAT_STD,
            numbers.SO2SAT_BANDS,
            dn_scale=1.0,
        ),
    )
}
"""All sets by name."""


def statistics(what: What) -> Statistics:
    """A set by its name, from a JSON file, or as it is.

    Raises:
        ValueError: with the known names, where there is no such set; or of `Statistics.load`.
        FileNotFoundError: where there is no such file.
    """
    if isinstance(what, Statistics):
        return what
    if isinstance(what, str) and what in STATISTICS:
        return STATISTICS[what]
    if isinstance(what, str) and not (what.endswith(".json") or os.path.isfile(what)):
        raise ValueError(
            f"unknown statistics {what!r}, expected one of {list(STATISTICS)}, the path of a JSON "
            "file (see python -m fastload stats), or a Statistics"
        )
    if not isinstance(what, str | os.PathLike):
        raise ValueError(
            f"statistics must be a name, a Statistics, or the path of a JSON file, got {what!r}"
        )
    return Statistics.load(what)
