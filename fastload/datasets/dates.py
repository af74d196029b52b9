"""Samples that have fewer dates than their modality, and what views ask of them."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.source import Modality, Source
from fastload_kernels import View
from fastload_kernels.view import fewest_timestamps

Dates = NDArray[np.int32]
DatesOf = Callable[[str], NDArray[np.int32]]
"""How many dates of a modality each sample has ``[N]``."""


def lacking(sources: Mapping[str, Source]) -> dict[str, Dates]:
    """How many dates each row has, of the modalities of which some rows lack some.

    Raises:
        ValueError: where `Columns.dates` is not what it should be.
    """
    out = {}
    for name, source in sources.items():
        dates, T = source.columns.dates, source.modality.timestamps
        if dates is None:
            continue
        if dates.shape != (len(source),) or dates.dtype != np.int32:
            raise ValueError(
                f"{name}: Columns.dates must be int32 [{len(source)}], got {dates.dtype} "
                f"{list(dates.shape)}"
            )
        if len(dates) and not 1 <= dates.min() <= dates.max() <= T:
            raise ValueError(
                f"{name}: Columns.dates must be from 1 to {T}, got {dates.min()} to {dates.max()}"
            )
        if (dates < T).any():
            out[name] = dates
    return out


def check_views(views: Sequence[View], dates: Dates) -> None:
    """Compare views with the dates ``[N]`` of the samples that they are drawn among.

    Raises:
        ValueError: counts the samples that have too few, and says how to leave them out.
    """
    need = fewest_timestamps(views)
    few = int(np.count_nonzero(dates < need))
    if few:
        raise ValueError(
            f"the views want samples of at least {need} dates, but {few} of {len(dates)} have fewer"
            f" (the fewest is {dates.min()}); {_advice(need)}"
        )


def check_modalities(
    modalities: Mapping[str, Modality], some_lack: Mapping[str, Dates], dates_of: DatesOf
) -> None:
    """Compare the dates of further modalities with those of the first, which timestamps are drawn
    among; one that has a single date serves for any.

    Args:
        modalities: the first is the reference.
        some_lack: by modality, see `lacking`.
        dates_of: of the joined samples.

    Raises:
        ValueError: names a modality whose samples have other numbers of dates.
    """
    first, *others = modalities
    for name in others:
        T = modalities[name].timestamps
        if T == 1 or not {first, name} & set(some_lack):
            continue
        differ = int(np.count_nonzero(dates_of(name) != dates_of(first)))
        if differ:
            raise ValueError(
                f"a view's timestamp is shared by all modalities, but {differ} samples have other "
                f"numbers of dates in {name} than in {first}; {_advice(T)}"
            )


def _advice(dates: int) -> str:
    return (
        "to leave them out, open the dataset without a recipe and take "
        f"dataset.filter(min_dates={dates}).with_recipe(recipe)"
    )
