"""What weights want to see: which bands, and what is made of the numbers on disk.

A run and an export say it themselves. Published files do not; what the code that trained them made
of its data is here.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.bands import PUBLISHED as BANDS
from fastload.bands import places, plain
from fastload.datasets.seco import QUANTILES, RGB
from fastload.recipe import REFLECTANCE, Radiometry, Recipe
from fastload.statistics import Statistics, statistics
from fastload_kernels import Scaling
from ssl4eo_train import data
from ssl4eo_train.config import Config
from ssl4eo_train.methods import METHODS

Kind = Literal["reflectance", "seco", "two_sigma", "standardise"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of red, green and blue in [0, 1]."""


@dataclass(frozen=True)
class Expected:
    """What weights were trained on, and so want to see."""

    source: str
    """Who says so."""
    bands: Mapping[str, tuple[str, ...]]
    """Names by modality, in the order of the input channels."""
    scalings: Mapping[str, Scaling]
    """By modality, ``y = clip((x - offset) * scale, low, high)`` of each band: x is reflectance in
    modalities of Sentinel-2 DN, elsewhere the number on disk, such as S1's in dB."""

    @property
    def words(self) -> str:
        """All of it in a line."""
        parts = (f"{n}: {_words(n, self.bands[n], s)}" for n, s in self.scalings.items())
        return "; ".join(parts)

    @property
    def kind(self) -> Kind:
        """What its first modality is: a name for the numbers, by which they suit other data."""
        name, s = next(iter(self.scalings.items()))
        one = 1 / 255 if name == "S2RGB" else 1
        # Without its limits, which pixels that wrap do not have.
        if _alike(s, Scaling.make(0, one, s.low, s.high, len(s.scale))):
            return "reflectance"
        if not np.isfinite(s.low).any():
            return "standardise"
        return "two_sigma" if (s.low == 0).all() and (s.high == 1).all() else "seco"

    @property
    def channels(self) -> int:
        """How many bands there are in all."""
        return sum(map(len, self.bands.values()))

    def scaling(self, modality: str, known: Statistics, bands: Sequence[str] = ()) -> Scaling:
        """What to make of numbers on disk.

        Args:
            modality: one of `bands`.
            known: of the data; say which DN are a reflectance of 0 and 1.
            bands: names of some of the bands, in any order; all by default.

        Raises:
            ValueError: where the weights did not see a band.
        """
        names = self.bands[modality]
        at = list(places(bands or names, names, f"the weights' {modality}"))
        of_x = self.scalings[modality]
        low, high = of_x.low[at], of_x.high[at]
        offset, scale = of_x.offset[at].astype(np.float64), of_x.scale[at].astype(np.float64)
        zero, one = _dn(modality, known)
        return Scaling.make(offset * one + zero, scale / one, low, high)

    def differences(self, own: "Expected") -> Iterator[str]:
        """Say where what a run shows is not what these weights want."""
        if list(self.bands) != list(own.bands):
            yield f"they saw {' and '.join(self.bands)}, this run shows {' and '.join(own.bands)}"
        if len(self.bands) != len(own.bands):
            return
        for theirs, ours in zip(self.bands, own.bands, strict=True):
            before, now = self.bands[theirs], own.bands[ours]
            if [plain(n) for n in before] != [plain(n) for n in now]:
                yield f"their bands are {', '.join(before)}, this run's {', '.join(now)}"
            elif not _alike(self.scalings[theirs], own.scalings[ours]):
                there = _words(theirs, before, self.scalings[theirs])
                yield f"they want {there}; this run shows {_words(ours, now, own.scalings[ours])}"


def of_numbers(
    source: str,
    bands: Mapping[str, Sequence[str]],
    numbers: Mapping[str, Scaling | Mapping[str, Sequence[float | None]]],
    known: Statistics,
) -> Expected:
    """From the radiometry of data or of a checkpoint, whose x are the numbers on disk."""
    scalings = {}
    for name in bands:
        zero, one = _dn(name, known)
        given = numbers[name]
        found = given if isinstance(given, Scaling) else _scaling(given)
        offset, scale = found.offset.astype(np.float64), found.scale.astype(np.float64)
        scalings[name] = Scaling.make((offset - zero) / one, scale * one, found.low, found.high)
    return Expected(source, {name: tuple(names) for name, names in bands.items()}, scalings)


def _scaling(numbers: Mapping[str, Sequence[float | None]]) -> Scaling:
    """From lists, where None is no limit. Raises KeyError, TypeError or ValueError."""
    none = {"low": -np.inf, "high": np.inf}
    offset, scale, low, high = (
        np.array([none[field] if x is None else float(x) for x in numbers[field]])
        for field in ("offset", "scale", "low", "high")
    )
    return Scaling.make(offset, scale, low, high)


def _dn(modality: str, known: Statistics) -> tuple[float, float]:
    """The number of a reflectance of 0, and how far that of 1 is from it; 0 and 1 elsewhere."""
    return (known.dn_offset, known.dn_scale) if modality in REFLECTANCE else (0.0, 1.0)


def _alike(a: Scaling, b: Scaling) -> bool:
    """Whether they make nearly the same of a band, to a thousandth of its span."""
    span = 1 / np.abs(a.scale)
    return (
        len(a.scale) == len(b.scale)
        and bool((np.abs(a.offset - b.offset) <= 1e-3 * span).all())
        and all(
            np.allclose(getattr(a, f), getattr(b, f), 1e-3, 1e-3) for f in ("scale", "low", "high")
        )
    )


def _words(modality: str, bands: Sequence[str], s: Scaling) -> str:
    """Say a formula."""
    x = "reflectance" if modality in REFLECTANCE else "x"
    if (s.offset != 0).any():
        x = f"({x} - {_number(s.offset)})"
    if not np.allclose(s.scale, 1):
        x = f"{x} * {_number(s.scale)}"
    clipped = np.isfinite(s.low).all() and np.isfinite(s.high).all()
    limits = f", clipped to {_number(s.low)} to {_number(s.high)}" if clipped else ""
    return f"{x}{limits}, of {', '.join(bands)}"


def _number(values: NDArray[np.float32]) -> str:
    """One number where all are alike."""
    shown = [f"{x:.4g}" for x in values]
    return shown[0] if len(set(shown)) == 1 else f"[{', '.join(shown)}]"


def seco_radiometry(
    colours: Sequence[int] = (0, 1, 2), zero: float = 0.0, one: float = 1.0
) -> Radiometry:
    """As SeCo shows its data: reflectance between quantiles of its bytes, to [0, 1], then as
    ImageNet. Source: ServiceNow/seasonal-contrast, datasets/seco_dataset.py.

    Args:
        colours: of each band, which it is of red, green and blue.
        zero, one: the number on disk of a reflectance of 0, and how far that of 1 is from it.
    """
    limits = [QUANTILES[RGB[i]] for i in colours]
    low, high = (tuple(zero + q / 255 * one for q in of) for of in zip(*limits, strict=True))
    mean, std = ([of[i] for i in colours] for of in (IMAGENET_MEAN, IMAGENET_STD))
    return Radiometry.quantile(low, high, mean=mean, std=std)


def _seco() -> Expected:
    """Of reflectance itself, whatever the data."""
    made = seco_radiometry().scaling("S2L2A", len(RGB), statistics("v1.0"))
    source = "SeCo's code, which stretches to 8 bits and then standardises as ImageNet"
    return Expected(source, {"S2L2A": RGB}, {"S2L2A": made})


def _ssl4eo(modality: str, bands: tuple[str, ...]) -> Expected:
    """As SSL4EO-S12 trained; see `ssl4eo_train.methods.common` for its bytes."""
    # torchgeo's transforms of its S1 weights standardise instead; these come from the training.
    kind = Radiometry.two_sigma() if modality == "S1GRD" else Radiometry.reflectance()
    made = kind.scaling(modality, len(bands), statistics("v1.0"))
    source = "SSL4EO-S12's code, by way of 8 bits"
    return of_numbers(source, {modality: bands}, {modality: made}, statistics("v1.0"))


NAMES = (
    (r"B13_(rn|vit)\w*_(moco|dino|mae|data2vec)|sentinel2_all_(moco|dino|mae|data2vec)", 13),
    (r"B3_(rn|vit)\w*_(moco|dino|mae|data2vec)|sentinel2_rgb_moco", 3),
    (r"B2_(rn|vit)\w*_(moco|dino|mae|data2vec)|sentinel1_all_(moco|mae)", 2),
)
"""File names that SSL4EO-S12, and torchgeo for its files, gave, and the bands they have."""
SECO_NAMES = r"seco_resnet(18|50)_(100k|1m)|sentinel2_rgb_seco"


def published(name: str, channels: int, layout: str) -> Expected | None:
    """What is known of a published file; None where nothing is.

    Args:
        name: the file's.
        channels: that its first layer takes.
        layout: "seco" or "ssl4eo", where the file's keys tell so; else "".
    """
    kinds = {
        13: ("S2L1C", BANDS["S2L1C"]),
        3: ("S2L1C", ("B04", "B03", "B02")),
        2: ("S1GRD", BANDS["S1GRD"]),
    }
    if channels == 3 and (layout == "seco" or re.search(SECO_NAMES, name)):
        return _seco()
    named = any(count == channels and re.search(pattern, name) for pattern, count in NAMES)
    # In these layouts three channels may as well be ImageNet's.
    if named or (layout == "ssl4eo" and channels in (2, 13)):
        return _ssl4eo(*kinds[channels])
    return None


def of_data(config: Config, dataset: fastload.Dataset) -> Expected:
    """What a run shows."""
    bands = {name: dataset.modalities[name].band_names for name in config.modality}
    return of_numbers("the run", bands, dataset.scalings, dataset.statistics)


def of_metadata(texts: Mapping[str, str]) -> Expected | None:
    """From the metadata of a safetensors file; None where they say nothing of it.

    Raises:
        AttributeError, KeyError, TypeError, ValueError: where they are not as
            `ssl4eo_train.export` writes them.
    """
    if not {"band_names", "radiometry", "statistics"} <= set(texts):
        return None
    bands, radiometry = json.loads(texts["band_names"]), json.loads(texts["radiometry"])
    known = Statistics(**json.loads(texts["statistics"]))
    return of_numbers("its metadata", bands, radiometry, known)


def of_checkpoint(saved: Mapping[str, Any]) -> Expected:
    """From a checkpoint of a run."""
    known = statistics_of(saved)
    return of_numbers("its run", saved["run"]["band_names"], numbers_of(saved), known)


def statistics_of(saved: Mapping[str, Any]) -> Statistics:
    """Of a run's data; an older checkpoint has their name alone."""
    if "statistics" in saved:
        return Statistics(**saved["statistics"])
    return statistics(saved["config"].get("statistics") or "v1.1-webdataset")


def recipe_of(run: Mapping[str, Any]) -> Recipe:
    """What the method of a run saw, as its checkpoint has it."""
    method = METHODS[run["method"]]
    return method.recipe(run["image_size"], run["arch"], method.Options(**run["options"]))


def numbers_of(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A run's radiometry by modality; an older checkpoint, whose run had all bands, lacks it."""
    if "radiometry" in saved:
        return dict(saved["radiometry"])
    run, known = saved["run"], statistics_of(saved)
    recipe = recipe_of(run)
    return {
        name: data.numbers(recipe.radiometry_of(name).scaling(name, len(names), known))
        for name, names in run["band_names"].items()
    }
