"""What has no dates, such as elevation, comes in tiles that do not overlap: a patch may lie on
several."""

import dataclasses
from collections.abc import Sequence

from fastload.gather.candidate import Candidate
from fastload.gather.scene import Scene
from fastload.gather.search.footprint import MARGIN_M, centre, ground, near


def joined(tiles: Sequence[Scene], candidate: Candidate) -> list[Scene]:
    """The tile that covers the patch; else one scene of all that have a part of it; none where none
    has the centre.

    The hrefs of such a scene are those of the tile with the centre, and for each other one the same
    names with its number, as in "DEM 2".
    """
    found = sorted(tiles, key=lambda tile: tile.id)
    shapes = {tile.id: near(tile.footprint, candidate.lon) for tile in found}
    whole, middle = ground(candidate, MARGIN_M), centre(candidate)
    covering = [tile for tile in found if shapes[tile.id].covers(whole)]
    central = [tile for tile in found if shapes[tile.id].covers(middle)]
    if covering or not central:
        return covering[:1]
    first = central[0]
    others = [tile for tile in found if tile is not first]
    hrefs = dict(first.hrefs)
    for number, tile in enumerate(others, 2):
        hrefs |= {f"{name} {number}": href for name, href in tile.hrefs.items()}
    ids = [tile.id for tile in (first, *others)]
    return [dataclasses.replace(first, id="+".join(ids), hrefs=hrefs)]
