"""A map of locations as SVG: a graticule, and a dot for each half degree that holds some."""

from collections.abc import Iterator, Mapping
from html import escape

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CELL = 0.5
"""Degrees of a dot."""


def world(
    lon: Floats,
    lat: Floats,
    here: tuple[float, float] | None = None,
    others: Mapping[str, tuple[str, Floats, Floats]] | None = None,
) -> str:
    """All locations on an equirectangular map, one of them marked; without outer resources.

    Args:
        lon, lat: degrees ``[N]``; those that are not finite are left out.
        here: the one to mark.
        others: further locations in other colours, by class of the style: what they are called,
            longitudes and latitudes.
    """
    kinds = {"": ("locations", lon, lat), **(others or {})}
    known = {kind: _known(lon, lat) for kind, (_, lon, lat) in kinds.items()}
    told = [f"{len(known[kind])} {kinds[kind][0]}" for kind in kinds if len(known[kind])]
    said = escape(f"Map of {', '.join(told)}" if told else "No location is known")
    parts = [f'<svg class="map" viewBox="-208 -96 402 202" role="img" aria-label="{said}">',
             f"<title>{said}</title>", *_graticule()]  # fmt: skip
    parts += [_dots(kind, places) for kind, places in known.items() if len(places)]
    if here is not None and np.isfinite(here).all():
        parts.append(f'<circle class="here" cx="{here[0]:g}" cy="{-here[1]:g}" r="3.5"/>')
    return "".join((*parts, "</svg>"))


def _known(lon: Floats, lat: Floats) -> Floats:
    places = np.stack([lon, lat], axis=1)
    return places[np.isfinite(places).all(axis=1)]


def _dots(kind: str, places: Floats) -> str:
    cells = np.unique(np.round(places / CELL), axis=0) * CELL
    dots = "".join(f"M{x:g} {-y:g}h0" for x, y in cells.tolist())
    return f'<path class="{f"dots {kind}".rstrip()}" d="{dots}"/>'


def degrees(lat: float, lon: float) -> str:
    """A place in words; "place unknown" where it is none."""
    if not (np.isfinite(lat) and np.isfinite(lon)):
        return "place unknown"
    north, east = "N" if lat >= 0 else "S", "E" if lon >= 0 else "W"
    return f"{abs(lat):.4f}° {north}, {abs(lon):.4f}° {east}"


def _graticule() -> Iterator[str]:
    yield '<rect class="sea" x="-180" y="-90" width="360" height="180"/>'
    across = "".join(f"M-180 {-y}h360" for y in range(-60, 90, 30))
    down = "".join(f"M{x} -90v180" for x in range(-150, 180, 30))
    yield f'<path class="lines" d="{across}{down}"/>'
    yield '<path class="equator" d="M-180 0h360M0 -90v180"/>'
    for x in range(-120, 180, 60):
        name = "0°" if not x else f"{abs(x)}° {'W' if x < 0 else 'E'}"
        yield f'<text x="{x}" y="100" text-anchor="middle">{name}</text>'
    for y in range(-60, 90, 30):
        name = "0°" if not y else f"{abs(y)}° {'S' if y < 0 else 'N'}"
        yield f'<text x="-183" y="{-y + 2}" text-anchor="end">{name}</text>'
