"""Modalities on other grids than the first: how a crop that is drawn there lies on theirs."""

import math
from collections.abc import Mapping

from fastload.datasets.source import Modality
from fastload_kernels.grid import Grid


def grids(modalities: Mapping[str, Modality], same_ground: bool) -> dict[str, Grid | None]:
    """By modality its grid; None where it is that of the first, on which crops are drawn.

    All images of a sample have the same centre. What ground they cover says `Modality.ground`, or
    where some modality does not say it, `same_ground` that it is the same.

    Raises:
        ValueError: where sizes differ and the ground is not known, or where a modality covers less
            than the first.
    """
    first = next(iter(modalities.values()))
    known = all(m.ground is not None for m in modalities.values())
    for m in modalities.values():
        if m.ground is not None and not all(0 < g < math.inf for g in m.ground):
            raise ValueError(f"{m.name}: ground must be metres above 0, got {m.ground}")
    sizes = {name: (m.height, m.width) for name, m in modalities.items()}
    if len(set(sizes.values())) > 1 and not known and not same_ground:
        raise ValueError(
            "a view's crop is shared by all modalities, so they must agree in size, or it must be "
            f"known what ground they cover: {sizes}; same_ground=True (an argument of Dataset, and "
            "an attribute that with_recipe reads) says that all cover the same, Modality.ground "
            "what each covers"
        )
    out: dict[str, Grid | None] = dict.fromkeys(modalities)
    for name, m in list(modalities.items())[1:]:
        share = _share(first, m) if known else (1.0, 1.0)
        out[name] = Grid.of((first.height, first.width), (m.height, m.width), share)
    return out


def _share(first: Modality, other: Modality) -> tuple[float, float]:
    """How much of another modality's ground the first covers, height and width."""
    assert first.ground is not None
    assert other.ground is not None
    pixels = (first.height, first.width), (other.height, other.width)
    for mine, theirs, n, m in zip(first.ground, other.ground, *pixels, strict=True):
        # Half a pixel on each side is what rounding may cost anyway.
        if mine - theirs > max(mine / n, theirs / m) * (1 + 1e-9):
            raise ValueError(
                f"{other.name} covers {other.ground} m, less than {first.name}, on which crops are "
                f"drawn, with {first.ground} m: name the modality first that covers least"
            )
    (a, b), (c, d) = first.ground, other.ground
    return a / c, b / d
