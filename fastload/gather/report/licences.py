"""Whose data it is, and what has to be said where it is passed on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

SENTINEL = (
    "Contains modified Copernicus Sentinel data [{years}]. Free, full and open under the legal "
    "notice on the use of Copernicus Sentinel data and service information."
)
DEM = (
    "Elevation: produced using Copernicus WorldDEM-30 © DLR e.V. 2010-2014 and © Airbus Defence "
    "and Space GmbH 2014-2018, provided under COPERNICUS by the European Union and ESA; all rights "
    "reserved."
)


def licences(modalities: Sequence[str], first: str | None, last: str | None) -> Iterator[str]:
    """Sentences for some modalities.

    Args:
        modalities: names.
        first, last: dates as text; None where there is none.
    """
    if first and last:
        years = first[:4] if first[:4] == last[:4] else f"{first[:4]}-{last[:4]}"
        yield SENTINEL.format(years=years)
    if "DEM" in modalities:
        yield DEM


def of_sources(sources: Mapping[str, Any]) -> Iterator[str]:
    """Sentences on the lists and outlines that a plan was drawn from.

    Args:
        sources: see `fastload.gather.plan.plan.Plan`.
    """
    for what, about in sources.items():
        if isinstance(about, Mapping) and about.get("licence"):
            yield f"{what.capitalize()}: {about.get('list', about.get('file', what))}, " + (
                f"{about['licence']}."
            )
