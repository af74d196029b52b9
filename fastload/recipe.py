"""What a training method wants to see: views and radiometry, as frozen data without code."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastload.bands import Shown, rgb_of
from fastload.dtypes import OUTPUTS
from fastload.statistics import Statistics
from fastload_kernels import Scaling, View

OutputType = Literal["float32", "float16", "bfloat16"]


REFLECTANCE = ("S2L1C", "S2L2A", "s2_toa")
"""Modalities whose DN are those of reflectance."""
OTHERS = "*"
"""The name, among radiometries, of every modality that has none of its own there."""


@dataclass(frozen=True)
class Radiometry:
    """A named way from the numbers on disk to the numbers that a network sees.

    `fill` is for pixels that are NaN or infinite: they take this value, in units of the result,
    after the radiometry and before all else, so that nothing spreads from them. Without it infinity
    is clipped where the radiometry clips, and is NaN elsewhere; NaN spreads to what is resampled,
    blurred or averaged with it, as `fastload_kernels.reference` says. Pixels that hold the
    modality's no-data value (0 in Sentinel-2) are numbers like any other here; `Recipe.mask` tells
    where they are.
    """

    kind: Literal["reflectance", "standardise", "two_sigma", "quantile", "identity"]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    fill: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    clip: bool = True

    def __post_init__(self) -> None:
        if self.fill is not None and not math.isfinite(self.fill):
            raise ValueError(f"Radiometry.fill must be a finite number or None, got {self.fill}")

    @classmethod
    def reflectance(cls, *, fill: float | None = None, clip: bool = True) -> "Radiometry":
        """Sentinel-2 top- or bottom-of-atmosphere reflectance, clipped to [0, 1]: DN less the
        statistics' offset, by their scale, as a rule 10000.

        Without `clip` it goes on above 1, for views with steps "uint8_wrap", where 12000 DN are to
        be grey level 50 of 255.
        """
        return cls("reflectance", fill=fill, clip=clip)

    @classmethod
    def standardise(
        cls,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        *,
        fill: float | None = None,
    ) -> "Radiometry":
        """(x - mean) / std per band: of the dataset's statistics, or of numbers of your own.

        Args:
            mean: one for all bands, or one for each that the modality shows, in the units on disk.
            std: the same; above 0.
            fill: see `Radiometry`.

        Raises:
            ValueError: where only one is given, or a number is none to divide by.
        """
        if mean is None and std is None:
            return cls("standardise", fill=fill)
        if mean is None or std is None:
            raise ValueError(f"radiometry 'standardise': mean and std go together, {mean=} {std=}")
        means, stds = _own("mean", mean), _own("std", std)
        if min(stds) <= 0:
            raise ValueError(f"radiometry 'standardise': std must be above 0, got {stds}")
        return cls("standardise", fill=fill, mean=means, std=stds)

    @classmethod
    def two_sigma(cls, *, fill: float | None = None) -> "Radiometry":
        """Mean - 2 std to mean + 2 std per band, to [0, 1], clipped."""
        return cls("two_sigma", fill=fill)

    @classmethod
    def quantile(
        cls,
        low: float | tuple[float, ...],
        high: float | tuple[float, ...],
        *,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        fill: float | None = None,
    ) -> "Radiometry":
        """Given limits (one, or one a band) to [0, 1], clipped.

        Args:
            low, high: in the units on disk.
            mean, std: what is subtracted from that, and what divides it, such as ImageNet's; one
                for all bands, or one each.
            fill: see `Radiometry`.

        Raises:
            ValueError: as of `standardise`.
        """
        lows = low if isinstance(low, tuple) else (float(low),)
        highs = high if isinstance(high, tuple) else (float(high),)
        then = cls.standardise(mean, std)
        return cls("quantile", lows, highs, fill, then.mean, then.std)

    @classmethod
    def identity(cls, *, fill: float | None = None) -> "Radiometry":
        """Labels and masks: pixels pass as they are, for any modality.

        They share the crop, flips and turns of the other modalities. Colours (brightness, contrast,
        gray, blur, solarize, dropped bands) leave them alone, and they are resampled by nearest
        whatever the view says, so that class numbers stay class numbers. The output has the
        recipe's dtype: float32 holds whole numbers up to 2**24 exactly, float16 up to 2048,
        bfloat16 up to 256.
        """
        return cls("identity", fill=fill)

    @property
    def unit_range(self) -> bool:
        """Whether the result is in [0, 1]."""
        return self.unit_scale and self.clip

    @property
    def unit_scale(self) -> bool:
        """Whether 0 is black and 1 is white, where the result leaves [0, 1] too."""
        inside = self.fill is None or 0 <= self.fill <= 1
        return self.kind not in ("standardise", "identity") and not self.mean and inside

    def scaling(
        self, modality: str, bands: int, statistics: Statistics, shown: Shown | None = None
    ) -> Scaling:
        """Resolve to numbers for a modality of `bands` bands; `shown` says which these are.

        Raises:
            ValueError: where the kind has no meaning for the modality, or statistics are missing.
        """
        if self.kind == "identity":
            return Scaling.make(0, 1, bands=bands, fill=self.fill, labels=True)
        rgb = None if shown is None else rgb_of(shown.names)
        amounts = self._amounts(modality, bands, statistics, shown)
        return replace(amounts, fill=self.fill, rgb=rgb)

    def _amounts(
        self, modality: str, bands: int, statistics: Statistics, shown: Shown | None
    ) -> Scaling:
        if self.kind == "reflectance":
            if modality not in REFLECTANCE:
                *others, last = REFLECTANCE
                raise ValueError(
                    f"radiometry 'reflectance' is defined for {', '.join(others)} and {last}, not "
                    f"for {modality}"
                )
            high = 1 if self.clip else np.inf
            return Scaling.make(statistics.dn_offset, 1 / statistics.dn_scale, 0, high, bands)
        if self.kind == "quantile":
            if any(len(limits) not in (1, bands) for limits in (self.low, self.high)):
                raise ValueError(
                    f"radiometry 'quantile' of {modality}: expected 1 or {bands} limits, "
                    f"got {len(self.low)} low and {len(self.high)} high"
                )
            span = [b - a for a, b in zip(*_paired(self.low, self.high), strict=True)]
            if min(span) <= 0:
                raise ValueError(f"radiometry 'quantile' of {modality}: low must be below high")
            return self._stretched(modality, bands)
        if self.mean:
            self._check_own(modality, bands)
            return Scaling.make(self.mean, [1 / s for s in self.std], bands=bands)
        mean, std = statistics.of(modality, shown or bands)
        if self.kind == "standardise":
            return Scaling.make(mean, 1 / std, bands=bands)
        return Scaling.make(mean - 2 * std, 1 / (4 * std), 0, 1, bands)

    def _check_own(self, modality: str, bands: int) -> None:
        if any(len(own) not in (1, bands) for own in (self.mean, self.std)):
            raise ValueError(
                f"radiometry {self.kind!r} of {modality}: expected 1 or {bands} numbers, "
                f"got {len(self.mean)} mean and {len(self.std)} std"
            )

    def _stretched(self, modality: str, bands: int) -> Scaling:
        """From limits to [0, 1], less the mean and by the standard deviation, if there are any."""
        low, high = (
            np.broadcast_to(np.asarray(limit, np.float64), bands) for limit in (self.low, self.high)
        )
        if not self.mean:
            return Scaling.make(low, 1 / (high - low), 0, 1, bands)
        self._check_own(modality, bands)
        mean, std = (
            np.broadcast_to(np.asarray(own, np.float64), bands) for own in (self.mean, self.std)
        )
        span = high - low
        return Scaling.make(low + mean * span, 1 / (std * span), -mean / std, (1 - mean) / std)


def _each(numbers: tuple[float, ...], bands: int) -> NDArray[np.float64]:
    """One number for all bands, or one each, as ``[C]``."""
    return np.broadcast_to(np.asarray(numbers, np.float64), bands)


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


def mask_of(modality: str) -> str:
    """The name of a modality's masks in a batch."""
    return f"{modality}_mask"


def holds_classes(modality: str) -> bool:
    """Whether a modality's pixels are class numbers: LULC, arrays of clouds and of ESRI's map."""
    return modality in ("LULC", "cloud_mask") or modality.endswith(
        ("/cloud_mask", "/esri_original")
    )


@dataclass(frozen=True)
class Recipe:
    """Views and radiometry.

    The loader yields, for each modality, a list with one tensor per view: ``[B, C, h, w]``, or
    ``[B, T, C, h, w]`` for a view of all timestamps. With `mask` it also yields
    ``{modality}_mask``, a list of bool ``[B, h, w]`` or ``[B, T, h, w]``.
    """

    views: tuple[View, ...]
    radiometry: Radiometry | Mapping[str, Radiometry]
    """One for all modalities, or one by modality name. Where one is for all, modalities of class
    numbers (see `holds_classes`) take `identity` all the same, as in the published code. In a
    mapping, that of `OTHERS` ("*") is for all that have no name there."""
    dtype: OutputType = "float32"
    channels_last: bool = False
    """Store each view so that bands are the fastest axis (torch.channels_last)."""
    mask: bool = False
    """Also tell where each view shows what was seen: True where in every band, dropped ones too,
    the nearest source pixel (the tap with the largest weight) is finite and not the modality's
    no-data value. Neither a fill nor the spreading of NaN changes it. False for all of a date that
    a sample does not have."""

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
        coloured = [k for k in kinds if k.kind != "identity"]
        stepwise = [view for view in self.views if view.steps != "fused"]
        if stepwise and not all(k.unit_scale for k in coloured):
            raise ValueError(
                f"Recipe.views: steps {stepwise[0].steps!r} keeps values in [0, 1]; choose a "
                "radiometry that puts black and white there, and a fill within it"
            )
        solarized = any(v.solarize and v.steps == "fused" for v in self.views)
        if solarized and not all(k.unit_range for k in coloured):
            raise ValueError(
                "Recipe.views: solarize is defined on [0, 1]; choose a radiometry that clips to "
                "it, and a fill within it"
            )

    def radiometry_of(self, modality: str) -> Radiometry:
        """The radiometry of a modality.

        Raises:
            ValueError: where the recipe names none for it.
        """
        if isinstance(self.radiometry, Radiometry):
            return Radiometry.identity() if holds_classes(modality) else self.radiometry
        if modality in self.radiometry:
            return self.radiometry[modality]
        if OTHERS in self.radiometry:
            return Radiometry.identity() if holds_classes(modality) else self.radiometry[OTHERS]
        raise ValueError(
            f"the recipe has no radiometry for {modality}, only for {list(self.radiometry)}"
        )

    @classmethod
    def series(cls, size: int = 224, train: bool = True) -> "Recipe":
        """The recipe of the published reading code: one view of all timestamps, standardised.

        Random crop and one of the square's eight symmetries, the same for all timestamps; centre
        crop without symmetries when not training. For users who bring their own model.
        """
        view = View(size=size, timestamp="all", center=not train, d4=1.0 if train else 0.0)
        return cls((view,), Radiometry.standardise())
