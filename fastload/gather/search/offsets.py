"""Which DN of a Sentinel-2 file means zero reflectance, decided by item.

Files of baseline 04.00 and later have 1000 added to what earlier ones hold; some archives took it
out again. The date of a scene tells nothing: old scenes are processed anew. Sources: ESA's Products
Specification Document 14.9 (RADIO_ADD_OFFSET, BOA_ADD_OFFSET); for Earth Search, the property
`earthsearch:boa_offset_applied`.
"""

import re
from collections.abc import Mapping
from typing import Any

from fastload.gather.search.services.service import Served

SINCE = (4, 0)
"""The first baseline whose files have it."""
OFFSET = 1000
_BASELINE = re.compile(r"(\d{1,2})\.(\d{2})")
_NAMED = re.compile(r"_N(\d{2})\.?(\d{2})(?=_|\.|$)")


class ItemError(ValueError):
    """An item of a catalogue that does not say what is needed; names the item and the field."""


def offset_of(
    item: str, properties: Mapping[str, Any], served: Served, asked: int | None = None
) -> tuple[int, str]:
    """The DN of zero reflectance, and what says so.

    In this order: what was asked for; what the service's description says; that the offset was
    taken out; the baseline; the baseline in the product's name.

    Args:
        item: its id.
        properties: of the item.
        served: how the service holds its modality.
        asked: by the user, for all items.

    Raises:
        ItemError: where nothing says it.
    """
    if asked is not None:
        return asked, "asked for"
    if served.offset is not None:
        return served.offset, "the service's description"
    taken_out = served.value(properties, "offset_applied")
    name = served.names("offset_applied")[0]
    if not isinstance(taken_out, bool | None):
        raise ItemError(f"item {item}, {name}: expected true or false, got {taken_out!r}")
    if taken_out:
        return 0, name
    found, why = baseline(item, properties, served)
    return (OFFSET if found >= SINCE else 0), why


def baseline(
    item: str, properties: Mapping[str, Any], served: Served
) -> tuple[tuple[int, int], str]:
    """The processing baseline, such as (5, 10), and what says so.

    Raises:
        ItemError: where nothing says it.
    """
    said = served.value(properties, "baseline")
    if match := _BASELINE.fullmatch(said) if isinstance(said, str) else None:
        return (int(match[1]), int(match[2])), f"baseline {int(match[1]):02d}.{match[2]}"
    names = (item, *(properties.get(name) for name in served.names("product")),
             served.value(properties, "datatake"))  # fmt: skip
    for name in names:
        if match := _NAMED.search(name) if isinstance(name, str) else None:
            return (int(match[1]), int(match[2])), f"baseline {match[1]}.{match[2]} of the name"
    fields = ", ".join((*served.names("offset_applied"), *served.names("baseline")))
    raise ItemError(
        f"item {item}: none of {fields} and no name with a baseline such as _N0510_ tells which DN "
        f"means zero reflectance ({served.names('baseline')[0]} is {said!r}); --offset 0 or 1000 "
        "says it for all items"
    )
