"""What the readers of all modalities share: how a scene is read, and the files of its bands."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.patch import Unfit
from fastload.gather.pixels.cog import Box, Cog, Read, read_all
from fastload.gather.pixels.files import Files
from fastload.gather.pixels.grid import Grid
from fastload.gather.scene import Scene
from fastload.storage.errors import DataError

OpenHref = Callable[[str], str]
"""What an address is asked for by: signed, or as it is."""


class Reading(NamedTuple):
    """How a scene is read.

    Attributes:
        files: opens them.
        open_href: signs.
        grid: the pixels that are asked for.
        max_missing: share of them that may be without data, 0 to 1.
    """

    files: Files
    open_href: OpenHref
    grid: Grid
    max_missing: float

    def bands(
        self,
        scene: Scene,
        names: Sequence[str],
        want: Callable[[str, Cog], Box],
        fill: float = 0,
    ) -> list[Read]:
        """Read the files of some bands of a scene, all at once.

        Args:
            scene: whose.
            names: of the bands.
            want: says which pixels of a band, by its name and its file's header.
            fill: what pixels outside of the files are.

        Raises:
            DataError: where the scene has no file of a band; or what `read_all` raises.
            Unfit: where a file is on the grid of another zone.
        """

        def box(i: int, image: Cog) -> Box:
            if image.crs != self.grid.crs:
                reason = f"{scene.id} lies in EPSG:{image.crs}, the sample in EPSG:{self.grid.crs}"
                raise Unfit("grids", reason)
            return want(names[i], image)

        hrefs = [self.open_href(href_of(scene, name)) for name in names]
        return [read for read in read_all(self.files, hrefs, box, fill) if read is not None]

    def check(self, scene: Scene, missing: NDArray[np.bool_]) -> None:
        """Compare the pixels without data ``[H, W]`` with how many there may be.

        Raises:
            Unfit: where there are more.
        """
        share = float(missing.mean())
        if share > self.max_missing:
            raise Unfit("no data", f"{share:.2%} of the patch in {scene.id}")


def href_of(scene: Scene, name: str) -> str:
    """Where the file of a band lies.

    Raises:
        DataError: where the scene does not say it.
    """
    if name not in scene.hrefs:
        reason = f"the item has no file of {name}, it has {', '.join(sorted(scene.hrefs))}"
        raise DataError(f"{scene.collection}/{scene.id}", "", -1, reason)
    return scene.hrefs[name]
