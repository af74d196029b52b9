"""What a training method wants to see: views and radiometry, as frozen data without code."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fastload.bands import Shown
from fastload.dtypes import OUTPUTS
from fastload.statistics import Statistics
from fastload_kernels import Scaling, View

OutputType = Literal["float32", "float16", "bfloat16"]


@dataclass(frozen=True)
class Radiometry:
    """A named way from the numbers on disk to the numbers that a network sees."""

    kind: Literal["reflectance", "standardise", "two_sigma", "quantile"]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    @classmethod
    def reflectance(cls) -> "Radiometry":
        """Sentinel-2 top- or bottom-of-atmosphere reflectance: DN / 10000, clipped to [0, 1]."""
        return cls("reflectance")

    @classmethod
    def standardise(
        cls,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
    ) -> "Radiometry":
        """(x - mean) / std per band: of the dataset's statistics, or of numbers of your own.

        Args:
            mean: one for all bands, or one for each that the modality shows, in the units on disk.
            std: the same; above 0.

        Raises:
            ValueError: where only one is given, or a number is none to divide by.
        """
        if mean is None and std is None:
            return cls("standardise")
        if mean is None or std is None:
            raise ValueError(f"radiometry 'standardise': mean and std go together, {mean=} {std=}")
        means, stds = _own("mean", mean), _own("std", std)
        if min(stds) <= 0:
            raise ValueError(f"radiometry 'standardise': std must be above 0, got {stds}")
        return cls("standardise", mean=means, std=stds)

    @classmethod
    def two_sigma(cls) -> "Radiometry":
        """Mean - 2 std to mean + 2 std per band, to [0, 1], clipped."""
        return cls("two_sigma")

    @classmethod
    def quantile(
        cls, low: float | tuple[float, ...], high: float | tuple[float, ...]
    ) -> "Radiometry":
        """Given limits (one, or one a band) to [0, 1], clipped."""
        lows = low if isinstance(low, tuple) else (float(low),)
        highs = high if isinstance(high, tuple) else (float(high),)
        return cls("quantile", lows, highs)

    @property
    def unit_range(self) -> bool:
        """Whether the result is clipped to [0, 1]."""
        return self.kind != "standardise"

    def scaling(
        self, modality: str, bands: int, statistics: Statistics, shown: Shown | None = None
    ) -> Scaling:
        """Resolve to numbers for a modality of `bands` bands; `shown` says which these are.

        Raises:
            ValueError: where the kind has no meaning for the modality, or statistics are missing.
        """
        if self.kind == "reflectance":
            if modality not in ("S2L1C", "S2L2A"):
                raise ValueError(
                    f"radiometry 'reflectance' is defined for S2L1C and S2L2A, not for {modality}"
                )
            return Scaling.make(statistics.dn_offset, 1e-4, 0, 1, bands)
        if self.kind == "quantile":
            if any(len(limits) not in (1, bands) for limits in (self.low, self.high)):
                raise ValueError(
                    f"radiometry 'quantile' of {modality}: expected 1 or {bands} limits, "
                    f"got {len(self.low)} low and {len(self.high)} high"
                )
            span = [b - a for a, b in zip(*_paired(self.low, self.high), strict=True)]
            if min(span) <= 0:
                raise ValueError(f"radiometry 'quantile' of {modality}: low must be below high")
            return Scaling.make(self.low, [1 / s for s in span], 0, 1, bands)
        if self.mean:
            if any(len(own) not in (1, bands) for own in (self.mean, self.std)):
                raise ValueError(
                    f"radiometry 'standardise' of {modality}: expected 1 or {bands} numbers, "
                    f"got {len(self.mean)} mean and {len(self.std)} std"
                )
            return Scaling.make(self.mean, [1 / s for s in self.std], bands=bands)
        mean, std = statistics.of(modality, shown or bands)
        if self.kind == "standardise":
            return Scaling.make(mean, 1 / std, bands=bands)
        return Scaling.make(mean - 2 * std, 1 / (4 * std), 0, 1, bands)


def _own(name: str, values: float | Sequence[float]) -> tuple[float, ...]:
    """Numbers of the user's own, checked."""
    array = np.atleast_1d(np.asarray(values, np.float64))
    numbers = tuple(array.ravel().tolist())
    if array.ndim != 1 or not numbers or not np.isfinite(array).all():
        raise ValueError(
            f"radiometry 'standardise': {name} must be one finite number or one a band, "
            f"got {values!r}"
        )
    return numbers


def _paired(
    low: tuple[float, ...], high: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    n = max(len(low), len(high))
    return low * (n // len(low)), high * (n // len(high))


@dataclass(frozen=True)
class Recipe:
    """Views and radiometry.

    The loader yields, for each modality, a list with one tensor per view: ``[B, C, h, w]``, or
    ``[B, T, C, h, w]`` for a view of all timestamps.
    """

    views: tuple[View, ...]
    radiometry: Radiometry | Mapping[str, Radiometry]
    """One for all modalities, or one by modality name."""
    dtype: OutputType = "float32"
    channels_last: bool = False
    """Store each view so that bands are the fastest axis (torch.channels_last)."""

    def __post_init__(self) -> None:
        if not self.views:
            raise ValueError("Recipe.views must hold at least one View")
        if self.dtype not in OUTPUTS:
            raise ValueError(f"Recipe.dtype must be one of {OUTPUTS}, got {self.dtype!r}")
        kinds = (
            [self.radiometry]
            if isinstance(self.radiometry, Radiometry)
            else list(self.radiometry.values())
        )
        if any(view.solarize for view in self.views) and not all(k.unit_range for k in kinds):
            raise ValueError(
                "Recipe.views: solarize is defined on [0, 1]; choose a radiometry that clips to it"
            )

    def radiometry_of(self, modality: str) -> Radiometry:
        """The radiometry of a modality.

        Raises:
            ValueError: where the recipe names none for it.
        """
        if isinstance(self.radiometry, Radiometry):
            return self.radiometry
        if modality not in self.radiometry:
            raise ValueError(
                f"the recipe has no radiometry for {modality}, only for {list(self.radiometry)}"
            )
        return self.radiometry[modality]

    @classmethod
    def series(cls, size: int = 224, train: bool = True) -> "Recipe":
        """The recipe of the published reading code: one view of all timestamps, standardised.

        Random crop and one of the square's eight symmetries, the same for all timestamps; centre
        crop without symmetries when not training. For users who bring their own model.
        """
        view = View(size=size, timestamp="all", center=not train, d4=1.0 if train else 0.0)
        return cls((view,), Radiometry.standardise())
