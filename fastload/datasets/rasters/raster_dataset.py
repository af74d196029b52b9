"""A dataset of rasters, which does not take eight bits for digital numbers."""

from fastload.datasets.base import Dataset
from fastload.recipe import Recipe
from fastload.statistics import STATISTICS, Statistics
from fastload.statistics_file import OWN

UNKNOWN = Statistics("unknown", 0.0, {}, {})
"""Of data that come without any."""
EIGHT_BITS = "v1.0-8bit"
_NUMBERS = ("S2L1C", "S2L2A", "S1GRD")
"""Modalities of digital numbers or dB, whose statistics by name are in these units."""


class RasterDataset(Dataset):
    """A dataset whose pixels may be in other units than the modality's usual ones."""

    def _see(self, recipe: Recipe | None) -> None:
        if recipe is not None:
            for name, m in self.modalities.items():
                _check(name, m.dtype.itemsize == 1, recipe, self.statistics)
        super()._see(recipe)


def _check(name: str, eight_bits: bool, recipe: Recipe, statistics: Statistics) -> None:
    """Compare a radiometry with the units of a modality.

    Raises:
        ValueError: says why it does not fit.
    """
    radiometry = recipe.radiometry_of(name)
    if radiometry.kind == "reflectance" and statistics is UNKNOWN:
        raise ValueError(
            f"radiometry 'reflectance' of {name}: nobody knows which DN is 0; give "
            "statistics=..., such as 'v1.0' for 0 and 'v1.1-zarr' for 1000"
        )
    by_set = radiometry.kind in ("standardise", "two_sigma") and not radiometry.mean
    ours = STATISTICS.get(statistics.name) is statistics and statistics.name != EIGHT_BITS
    if by_set and eight_bits and ours and name in _NUMBERS and name in statistics.mean:
        raise ValueError(
            f"radiometry {radiometry.kind!r} of {name}: the files hold uint8, but statistics "
            f"{statistics.name!r} are of the numbers before; statistics={EIGHT_BITS!r} are those "
            f"of mean - 2 std to mean + 2 std as 0 to 255; {OWN}"
        )
