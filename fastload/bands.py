"""Bands by name: as the field writes them, as the files do, and a choice of them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
PUBLISHED = {
    "S2L1C": (*_L2A[:10], "B10", *_L2A[10:]),
    "S2L2A": _L2A,
    "S2RGB": ("R", "G", "B"),
    "S1GRD": ("VV", "VH"),
    "S1RTC": ("VV", "VH"),
    "S1": ("VV", "VH"),
}
"""Names by modality in the order on disk, for files that hold none."""
_NUMBERED = re.compile(r"([a-z]+)0*(\d+)([a-z]*)")

Asked = Sequence[str] | Mapping[str, Sequence[str]] | None
"""Bands of the one modality, or by modality; those that are not named keep all."""


@dataclass(frozen=True)
class Shown:
    """The bands that a modality shows, as statistics look theirs up.

    Attributes:
        count: how many.
        names: of each; empty where nobody knows.
        picked: where each stands among the stored ones; None where all are shown as stored.
        stored: how many are stored.
    """

    count: int
    names: tuple[str, ...] = ()
    picked: tuple[int, ...] | None = None
    stored: int = 0


def plain(name: str) -> str:
    """A name without what writers differ in: 'B04' is 'B4', 'VV' is 'vv', 'B8A' is itself."""
    text = name.strip().casefold()
    numbered = _NUMBERED.fullmatch(text)
    return "".join(numbered.groups()) if numbered else text


_RGB = (("r", "g", "b"), ("b4", "b3", "b2"), ("red", "green", "blue"))


def rgb_of(names: Sequence[str]) -> tuple[int, int, int] | None:
    """Where red, green and blue stand among bands by their names; None where they are others, or
    there are further ones."""
    known = [plain(name) for name in names]
    for red, green, blue in _RGB:
        if sorted(known) == sorted((red, green, blue)):
            return known.index(red), known.index(green), known.index(blue)
    return None


def names_of(modality: str, stored: Sequence[str], count: int) -> tuple[str, ...]:
    """Names of `count` stored bands: the files' own, or else the published ones, or none."""
    if stored:
        return tuple(stored)
    published = PUBLISHED.get(modality, ())
    return published if len(published) == count else ()


def places(asked: Sequence[str], names: Sequence[str], what: str) -> tuple[int, ...]:
    """Where each name of a choice stands among `names`.

    Args:
        asked: the choice, in its order.
        names: all that there are.
        what: who has them, for the error.

    Raises:
        ValueError: lists the names, where one is unknown, not unique or asked for twice.
    """
    if isinstance(asked, str) or not asked or not all(isinstance(n, str) for n in asked):
        raise ValueError(f"bands of {what} must be a list of names, got {asked!r}")
    if not names:
        raise ValueError(f"bands of {what}: neither the files nor the package know their names")
    known = [plain(name) for name in names]
    unknown = [name for name in asked if known.count(plain(name)) != 1]
    if unknown:
        raise ValueError(f"bands of {what}: expected names of {list(names)}, got {unknown}")
    found = tuple(known.index(plain(name)) for name in asked)
    if len(set(found)) < len(found):
        raise ValueError(f"bands of {what} must differ, got {list(asked)}")
    return found


def pick(asked: Sequence[str] | None, names: Sequence[str], what: str) -> tuple[int, ...] | None:
    """As `places`; None where all bands are asked for in their order, or nothing is asked."""
    if asked is None:
        return None
    found = places(asked, names, what)
    return None if found == tuple(range(len(names))) else found


def by_modality(asked: Asked, modalities: Sequence[str]) -> dict[str, Sequence[str] | None]:
    """What is asked of each modality; None for all bands.

    Raises:
        ValueError: where one list is given for several modalities, or a name is no modality.
    """
    if asked is None:
        return dict.fromkeys(modalities)
    if isinstance(asked, Mapping):
        unknown = [name for name in asked if name not in modalities]
        if unknown:
            raise ValueError(f"bands: {unknown} are not among the modalities {list(modalities)}")
        return {name: asked.get(name) for name in modalities}
    if len(modalities) > 1:
        raise ValueError(
            f"bands: one list for {len(modalities)} modalities; expected a mapping by name, as in "
            f"{{{modalities[0]!r}: [...]}}"
        )
    return {modalities[0]: asked}
