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


# fmt: off
_V11_MEAN = {
    "S2L1C": (2607.345, 2393.068, 2320.225, 2373.963, 2562.536, 3110.071, 3392.832, 3321.154,
              3583.77, 1838.712, 1021.753, 3205.112, 2545.798),
    "S2L2A": (1793.243, 1924.863, 2184.553, 2340.936, 2671.402, 3240.082, 3468.412, 3563.244,
              3627.704, 3711.071, 3416.714, 2849.625),
    "S2RGB": (100.708, 87.489, 61.932),
    "S1GRD": (-12.577, -20.265),
    "NDVI": (0.327,),
    "DEM": (435.726,),
}
_V11_STD = {
    "S2L1C": (786.523, 849.702, 875.318, 1143.578, 1126.248, 1161.98, 1273.505, 1246.79,
              1342.755, 576.795, 45.626, 1340.347, 1145.036),
    "S2L2A": (1160.144, 1201.092, 1219.943, 1397.225, 1400.035, 1373.136, 1429.17, 1485.025,
              1447.836, 1652.703, 1471.002, 1365.307),
    "S2RGB": (68.550, 47.647, 40.592),
    "S1GRD": (5.179, 5.872),
    "NDVI": (0.322,),
    "DEM": (560.326,),
}
# The reading code of the WebDataset release alone has these.
_MORE_MEAN = {"NDVI": (0.327,), "DEM": (435.726,)}
_MORE_STD = {"NDVI": (0.322,), "DEM": (560.326,)}
_V10_MEAN = {
    "S2L1C": (1605.57504906, 1390.78157673, 1314.8729939, 1363.52445545, 1549.44374991,
              2091.74883118, 2371.7172463, 2299.90463006, 2560.29504086, 830.06605044,
              22.10351321, 2177.07172323, 1524.06546312),
    "S2L2A": (752.40087073, 884.29673756, 1144.16202635, 1297.47289228, 1624.90992062,
              2194.6423161, 2422.21248945, 2517.76053101, 2581.64687018, 2645.51888987,
              2368.51236873, 1805.06846033),
    "S1GRD": (-12.54847273, -20.19237134),
}
_V10_STD = {
    "S2L1C": (786.78685367, 850.34818441, 875.06484736, 1138.84957046, 1122.17775652,
              1161.59187054, 1274.39184232, 1248.42891965, 1345.52684884, 577.31607053,
              51.15431158, 1336.09932639, 1136.53823676),
    "S2L2A": (1108.02887453, 1155.15170768, 1183.6292542, 1368.11351514, 1370.265037,
              1355.55390699, 1416.51487101, 1474.78900051, 1439.3086061, 1582.28010962,
              1455.52084939, 1343.48379601),
    "S1GRD": (5.25697717, 5.91150917),
}
# What Copernicus-FM's published training does to the values: S1 and S2 by the statistics of
# SSL4EO-S12, Sentinel-3 times its scale factors (bands Oa01 and Oa10 lie on disk 1e9 times too
# large, which its reader undoes), DEM in units of 10 km, Sentinel-5P as it is.
_OLCI = (0.0139465, 0.0133873, 0.0121481, 0.0115198, 0.0100953, 0.0123538, 0.00879161, 0.00876539,
         0.0095103, 0.00773378, 0.00675523, 0.0071996, 0.00749684, 0.0086512, 0.00526779,
         0.00530267, 0.00493004, 0.00549962, 0.00502847, 0.00326378, 0.00324118)
_CFM_MEAN = {
    "s1_grd": (-12.59, -20.26),
    "s2_toa": (1612.9, 1397.6, 1322.3, 1373.1, 1561.0, 2108.4, 2390.7, 2318.7, 2581.0, 837.7, 22.0,
               2195.2, 1537.4),
    "s3_olci": (0.0,) * len(_OLCI),
    "s5p_co": (0.0,), "s5p_no2": (0.0,), "s5p_o3": (0.0,), "s5p_so2": (0.0,),
    "dem": (0.0,),
}
_CFM_STD = {
    "s1_grd": (5.26, 5.91),
    "s2_toa": (791.0, 854.3, 878.7, 1144.9, 1127.5, 1164.2, 1276.0, 1249.5, 1345.9, 577.5, 47.5,
               1340.0, 1142.9),
    "s3_olci": tuple((1e9 if i in (0, 9) else 1.0) / scale for i, scale in enumerate(_OLCI)),
    "s5p_co": (1.0,), "s5p_no2": (1.0,), "s5p_o3": (1.0,), "s5p_so2": (1.0,),
    "dem": (10000.0,),
}
# Source: `statistics` in terramesh.py, the reading code that is published with the data set; its
# terramesh_statistics.yaml has the same. TerraMind itself was trained with slightly other numbers
# (S2L2A B01 1390.458 / 2106.761, DEM 670.665 / 951.272), those of terratorch's terramind_register.
_TERRAMESH_MEAN = {
    "S2L1C": (2357.090, 2137.398, 2018.799, 2082.998, 2295.663, 2854.548, 3122.860, 3040.571,
              3306.491, 1473.849, 506.072, 2472.840, 1838.943),
    "S2L2A": (1390.461, 1503.332, 1718.211, 1853.926, 2199.116, 2779.989, 2987.025, 3083.248,
              3132.235, 3162.989, 2424.902, 1857.665),
    "S2RGB": (110.349, 99.507, 75.843),
    "S1GRD": (-12.577, -20.265),
    "S1RTC": (-10.93, -17.329),
    "NDVI": (0.327,),
    "DEM": (651.663,),
}
_TERRAMESH_STD = {
    "S2L1C": (1673.639, 1722.641, 1602.205, 1873.138, 1866.055, 1779.839, 1776.496, 1724.114,
              1771.041, 1079.786, 512.404, 1340.879, 1172.435),
    "S2L2A": (2131.157, 2163.666, 2059.311, 2152.477, 2105.179, 1912.773, 1842.326, 1893.568,
              1775.656, 1814.907, 1436.282, 1336.155),
    "S2RGB": (69.905, 53.708, 53.378),
    "S1GRD": (5.179, 5.872),
    "S1RTC": (4.391, 4.459),
    "NDVI": (0.322,),
    "DEM": (928.168,),
}
# fmt: on


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
        Statistics("v1.0", 0.0, _V10_MEAN, _V10_STD),
        # The 8-bit release: mean - 2 std to mean + 2 std, clipped, as 0 to 255. Clipping apart,
        # that makes these numbers of every band's.
        Statistics("v1.0-8bit", 0.0, _same(127.5, _V10_MEAN), _same(255 / 4, _V10_MEAN)),
        Statistics(
            "v1.1-webdataset", 0.0, _without_offset(_V11_MEAN) | _MORE_MEAN, _V11_STD | _MORE_STD
        ),
        Statistics("v1.1-zarr", 1000.0, _V11_MEAN, _V11_STD),
        Statistics("copernicus-fm", 0.0, _CFM_MEAN, _CFM_STD),
        Statistics("terramesh", 0.0, _TERRAMESH_MEAN, _TERRAMESH_STD),
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
