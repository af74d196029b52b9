"""Radiometry that a paper states in numbers, in place of what the backbone's file says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fastload.bands import plain
from fastload.recipe import Radiometry
from fastload.statistics import Statistics
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.inputs import Inputs


@dataclass(frozen=True)
class Stretched(Inputs):
    """Each band from its own two limits to 0 and 1, clipped.

    Attributes:
        limits: least and greatest number on disk, by band.
    """

    limits: Mapping[str, Sequence[float]]

    def radiometry(self, modality: str, statistics: Statistics) -> Radiometry:
        """See `Inputs.radiometry`.

        Raises:
            SetupError: where a band has no limits.
        """
        known = {
            plain(name): (float(low), float(high)) for name, (low, high) in self.limits.items()
        }
        bands = self.bands[modality]
        missing = [band for band in bands if plain(band) not in known]
        if missing:
            raise SetupError(f"there are no published limits of {', '.join(missing)} of {modality}")
        found = [known[plain(band)] for band in bands]
        return Radiometry.quantile(tuple(a for a, _ in found), tuple(b for _, b in found))


@dataclass(frozen=True)
class Divided(Inputs):
    """All bands by one number, without a clip."""

    by: float

    def radiometry(self, modality: str, statistics: Statistics) -> Radiometry:
        """See `Inputs.radiometry`."""
        return Radiometry.standardise(0.0, self.by)
