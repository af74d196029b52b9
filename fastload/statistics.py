"""Named sets of band statistics. Nothing here is guessed: a dataset says which set it is.

The two v1.1 releases of SSL4EO-S12 differ by exactly 1000 DN in every Sentinel-2 band: the one of
zarr chunk files carries the offset of ESA's processing baseline 04.00, the one of WebDataset tars
does not. Sources: the statistics in the v1.0 and v1.1 repositories' loaders.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Statistics:
    """Mean and standard deviation per band, in the units on disk, of one release of a dataset."""

    name: str
    dn_offset: float
    """DN of zero reflectance in Sentinel-2 modalities: reflectance = (DN - offset) / 10000."""
    mean: Mapping[str, tuple[float, ...]]
    std: Mapping[str, tuple[float, ...]]

    def of(self, modality: str, bands: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation ``[C]`` of a modality.

        Raises:
            ValueError: where the set lacks the modality or has another number of bands.
        """
        if modality not in self.mean:
            raise ValueError(
                f"statistics {self.name!r} have no modality {modality!r}, only {list(self.mean)}"
            )
        mean, std = np.array(self.mean[modality]), np.array(self.std[modality])
        if len(mean) != bands:
            raise ValueError(
                f"statistics {self.name!r} have {len(mean)} bands for {modality}, "
                f"the data has {bands}"
            )
        return mean, std


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
# fmt: on


def _without_offset(mean: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[float, ...]]:
    return {
        m: tuple(round(x - 1000, 3) for x in v) if m in ("S2L1C", "S2L2A") else v
        for m, v in mean.items()
    }


STATISTICS = {
    s.name: s
    for s in (
        Statistics("v1.0", 0.0, _V10_MEAN, _V10_STD),
        Statistics("v1.1-webdataset", 0.0, _without_offset(_V11_MEAN), _V11_STD),
        Statistics("v1.1-zarr", 1000.0, _V11_MEAN, _V11_STD),
    )
}
"""All sets by name."""


def statistics(name: str) -> Statistics:
    """Look a set up by name.

    Raises:
        ValueError: with the known names, where there is no such set.
    """
    if name not in STATISTICS:
        raise ValueError(f"unknown statistics {name!r}, expected one of {list(STATISTICS)}")
    return STATISTICS[name]
