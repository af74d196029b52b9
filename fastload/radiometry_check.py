"""Does the data carry the offset of 1000 DN that the named statistics say, or not?"""

import warnings

import numpy as np

from fastload.datasets.base import Dataset
from fastload.storage.errors import DataError

PROBES = 8
DARK, SHIFTED = 700, 900
"""DN. Without the offset, some band has pixels darker than the first in nearly any scene (cirrus,
water, shadow); with it, hardly any pixel is darker than the second."""


def warn_of_offset(dataset: Dataset) -> None:
    """Warn where data and statistics disagree by about 1000 DN; checked once per dataset.

    Reads one timestamp of a few samples; samples that cannot be read are passed over here.
    """
    if not dataset.statistics.mean:  # nothing is said of the data
        return
    if dataset.recipe is None or getattr(dataset, "_offset_checked", False):
        return
    dataset._offset_checked = True  # type: ignore[attr-defined]
    for name in dataset.modalities:
        if name not in ("S2L1C", "S2L2A"):
            continue
        dark = darkest(dataset, name)
        expected = dataset.statistics.dn_offset
        if dark is None:
            continue
        if expected == 0 and dark >= SHIFTED:
            found = "hardly a pixel below it, as if 1000 DN were added"
        elif expected > 0 and dark < DARK:
            found = f"pixels down to {dark:.0f} DN, as if nothing were added"
        else:
            continue
        warnings.warn(
            f"{name}: statistics {dataset.statistics.name!r} put zero reflectance at "
            f"{expected:.0f} DN, but the data has {found}",
            stacklevel=5,
        )


def darkest(dataset: Dataset, modality: str) -> float | None:
    """Lowest first percentile of a band, in DN, over a few samples; None if none can be read."""
    found = []
    for sample in np.linspace(0, len(dataset) - 1, min(PROBES, len(dataset))).astype(int):
        try:
            image = dataset.read(modality, int(sample), [0])[0, :, ::8, ::8]
        except DataError:
            continue
        valid = [band[band != 0] for band in image]
        found += [np.percentile(v, 1) for v in valid if v.size]
    return min(found, default=None)
