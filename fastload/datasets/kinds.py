"""A modality whose samples are of different kinds, each with statistics of its own."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.bands import rgb_of
from fastload.datasets.source import Kinds, Modality, Source
from fastload.recipe import Recipe
from fastload.statistics import Statistics
from fastload_kernels import Scaling


class Scaled(NamedTuple):
    """Samples of a batch that share a radiometry.

    Attributes:
        scaling: theirs.
        slots: int64 ``[b]``, where they stand in the batch.
    """

    scaling: Scaling
    slots: NDArray[np.int64]


def scalings_of(
    source: Source, name: str, recipe: Recipe, statistics: Statistics
) -> tuple[Scaling, ...]:
    """The radiometry of a modality: one, or one for each of its kinds.

    Statistics that know the modality by its own name are those of all kinds.

    Raises:
        ValueError: where recipe and data do not fit.
    """
    m, how = source.modality, recipe.radiometry_of(name)
    if how.kind == "reflectance" and m.dtype.itemsize == 1 and statistics.dn_scale > 255:
        raise ValueError(
            f"{name} has 8 bits, but statistics {statistics.name!r} put a reflectance of 1 at "
            f"{statistics.dn_scale:g} DN; give a Statistics with another dn_scale, such as 255, or "
            "limits by Radiometry.quantile(low, high)"
        )
    if any(v.colours == "rgb" for v in recipe.views) and how.kind != "identity":
        _check_rgb(name, m)
    single = source.kinds is None or name in statistics.mean
    names = (name,) if single or source.kinds is None else source.kinds.names
    return tuple(how.scaling(kind, m.bands, statistics, m.shown) for kind in names)


def _check_rgb(name: str, m: Modality) -> None:
    if rgb_of(m.shown.names) is None:
        raise ValueError(
            f"View.colours 'rgb' is for red, green and blue alone, but {name} shows "
            f"{m.bands} bands{': ' if m.shown.names else ' '}{', '.join(m.shown.names)}; choose "
            "three by bands=, such as B04, B03 and B02, or colours='bands'"
        )


def by_scaling(
    source: Source, scalings: Sequence[Scaling], rows: NDArray[np.int64]
) -> list[Scaled]:
    """Rows ``[B]`` of a source, those that share a radiometry together."""
    if len(scalings) == 1 or source.kinds is None:
        return [Scaled(scalings[0], np.arange(len(rows)))]
    kinds = source.kinds.of[rows]
    return [Scaled(scalings[k], np.flatnonzero(kinds == k)) for k in np.unique(kinds).tolist()]


def joined(sources: Sequence[Source]) -> Kinds | None:
    """The kinds of sources side by side.

    Raises:
        ValueError: where they differ in their names.
    """
    names = {None if source.kinds is None else source.kinds.names for source in sources}
    if len(names) > 1:
        raise ValueError(
            f"concat: {sources[0].modality.name} has other kinds of samples in some: {list(names)}"
        )
    found = [source.kinds for source in sources if source.kinds is not None]
    return Kinds(found[0].names, np.concatenate([k.of for k in found])) if found else None
