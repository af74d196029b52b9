"""From the bands of torchgeo-bench's datasets to a backbone's channels: by name and in units."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from fastload.bands import PUBLISHED, plain
from fastload.statistics import statistics
from fastload_kernels import Scaling
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.inputs import COLOURS, SAME
from ssl4eo_train.evaluate.pretrained import Pretrained
from ssl4eo_train.expected import IMAGENET_MEAN, IMAGENET_STD

RADAR_SENSORS = ("s1", "sar", "sentinel1")
NAMES = {
    **SAME,
    "coastal_aerosol": "b1",
    "coastal": "b1",
    **{f"red_edge_{i}": f"b{i + 4}" for i in (1, 2, 3)},
    **{f"rededge{i}": f"b{i + 4}" for i in (1, 2, 3)},
    "red_edge_4": "b8a",
    "nir_narrow": "b8a",
    "water_vapour": "b9",
    "swir_cirrus": "b10",
    "cirrus": "b10",
    "swir_1": "b11",
    "swir1": "b11",
    "swir_2": "b12",
    "swir2": "b12",
}
"""Sentinel-2's bands by the names of its datasets."""
CALLED, TRUE = ("b8a", "b9", "b10", "b11", "b12"), ("b9", "b10", "b11", "b12", "b8a")
"""GeoBench V1 named the bands of EuroSAT's files, whose last one is B8A, as if B8A came ninth."""


class Spec(Protocol):
    """What is used of a `torchgeo_bench.datasets.base.BandSpec`."""

    @property
    def sensor(self) -> str:
        """Of which satellite, such as "s2" or "sar"."""

    @property
    def name(self) -> str:
        """Such as "red_edge_1", "b05" or "vv"."""

    @property
    def mean(self) -> float:
        """Over the training split, in the units on disk."""

    @property
    def max(self) -> float:
        """The same."""


def named(specs: Sequence[Spec]) -> list[str | None]:
    """What bands really are, as 'b8a' or 'vv'; None of one that is not what it is called.

    Of m-eurosat the names of the last five bands are shifted, which their means tell. In
    m-brick-kiln the last three are the bytes of a picture among digital numbers, so that nothing
    after B08 is what it is called.
    """
    names = [_called(spec) for spec in specs]
    optical = [i for i, spec in enumerate(specs) if not is_radar(spec)]
    late = [i for i in optical if names[i] in CALLED]
    digital = any(specs[i].max > 1000 for i in optical)
    if digital and any(specs[i].max <= 255 and names[i] in ("b11", "b12") for i in late):
        return [None if i in late else name for i, name in enumerate(names)]
    if late and all(_is_shifted(names[i], specs[i].mean) for i in late):
        shifted = dict(zip(CALLED, TRUE, strict=True))
        return [shifted[name] if i in late else name for i, name in enumerate(names)]
    return list(names)


def misnamed(specs: Sequence[Spec]) -> list[str]:
    """Bands that are not what they are called, and what they are, in words."""
    pairs = zip(specs, named(specs), strict=True)
    return [f"{spec.name} is {true or 'unknown'}" for spec, true in pairs if _called(spec) != true]


def _called(spec: Spec) -> str:
    return NAMES.get(plain(spec.name), plain(spec.name))


def _is_shifted(name: str, mean: float) -> bool:
    """Whether EuroSAT's mean of the next band is nearer than that of the band itself."""
    of = [plain(band) for band in PUBLISHED["S2L1C"]]
    means = dict(zip(of, statistics("eurosat").mean["S2L1C"], strict=True))
    called, true = (abs(np.log(mean / means[n])) for n in (name, TRUE[CALLED.index(name)]))
    return mean > 0 and bool(true < 0.1 < called)


def is_radar(spec: Spec) -> bool:
    """Whether a band is Sentinel-1's."""
    return spec.sensor in RADAR_SENSORS or plain(spec.name) in ("vv", "vh")


def places(channels: Sequence[str], specs: Sequence[Spec], zeros: bool) -> tuple[int | None, ...]:
    """Where each channel of a backbone stands among a benchmark's; None for zeros.

    Args:
        channels: names, as in `pretrained.Channel`.
        specs: of the benchmark.
        zeros: show zeros for bands that it lacks.

    Raises:
        SetupError: names the bands that it lacks.
    """
    there = named(specs)
    wanted = [SAME.get(plain(name), plain(name)) for name in channels]
    found = tuple(there.index(name) if name in there else None for name in wanted)
    lacking = [n for n, place in zip(channels, found, strict=True) if place is None]
    if len(lacking) == len(found) or (lacking and not zeros):
        shown = ", ".join(f"{s.name} ({n or '?'})" for s, n in zip(specs, there, strict=True))
        raise SetupError(
            f"the backbone takes {', '.join(lacking)}, which the benchmark lacks; it has {shown}. "
            "dataset.bands=all shows all of its bands, model.missing_bands=zero zeros for the rest"
        )
    return found


def unit(specs: Sequence[Spec]) -> float:
    """The number that a reflectance of 1 is in optical bands: 10000 of DN, 255 of bytes, or 1."""
    most = max((spec.max for spec in specs if not is_radar(spec)), default=1.0)
    return 10000.0 if most > 1000 else 255.0 if most > 10 else 1.0


def check_decibel(specs: Sequence[Spec]) -> None:
    """See that radar is backscatter in dB.

    Raises:
        SetupError: where it is something else, such as So2Sat's complex amplitudes.
    """
    for spec in specs:
        if is_radar(spec) and not -40 < spec.mean < -3:
            raise SetupError(
                f"the backbone takes radar in dB; the benchmark's {spec.name} has a mean of "
                f"{spec.mean:g}, which is none"
            )


def scaling(backbone: Pretrained) -> Scaling:
    """What a backbone wants made of reflectance, or of dB: numbers a channel.

    Raises:
        SetupError: where its radiometry is one of the data's own statistics.
    """
    n, known = len(backbone.channels), backbone.expected
    if known is not None and known.kind == backbone.wanted:
        of = list(known.scalings.values())
        return Scaling.make(
            np.concatenate([s.offset for s in of]),
            np.concatenate([s.scale for s in of]),
            np.concatenate([s.low for s in of]),
            np.concatenate([s.high for s in of]),
        )
    if backbone.wanted == "reflectance":
        return Scaling.make(0, 1, 0, 1, n)
    colours = [SAME.get(plain(c.band), plain(c.band)) for c in backbone.channels]
    if backbone.wanted == "imagenet" and set(colours) <= set(COLOURS):
        at = [COLOURS.index(name) for name in colours]
        return Scaling.make(np.array(IMAGENET_MEAN)[at], 1 / np.array(IMAGENET_STD)[at])
    raise SetupError(
        f"radiometry {backbone.wanted} of {', '.join(c.band for c in backbone.channels)}: the file "
        "does not say its numbers; expected reflectance, or imagenet of red, green and blue"
    )
