"""What the readers of all modalities share: the files of a scene, opened side by side."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastload.gather.cog import Cog, cog
from fastload.gather.files import Files
from fastload.gather.grid import Grid
from fastload.gather.patch import Unfit
from fastload.gather.scene import Scene
from fastload.storage.errors import DataError
from fastload.storage.remote.together import together

OpenHref = Callable[[str], str]
"""What an address is asked for by: signed, or as it is."""
_AT_ONCE = 16
"""Files of a scene that are read at a time: all bands of Sentinel-2."""


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

    def each(
        self, scene: Scene, names: Sequence[str], work: Callable[[str, Cog], NDArray[Any]]
    ) -> list[NDArray[Any]]:
        """Do something with the file of each band, all at once.

        Raises:
            DataError: where the scene has no file of a band; or what `cog` raises.
            Unfit: where a file is on the grid of another zone.
        """
        out: list[NDArray[Any]] = [np.empty(0)] * len(names)
        hrefs = [self.open_href(href_of(scene, name)) for name in names]

        def one(i: int) -> None:
            with cog(self.files, hrefs[i]) as image:
                if image.crs != self.grid.crs:
                    raise Unfit(
                        "grids",
                        f"{scene.id} lies in EPSG:{image.crs}, the sample in EPSG:{self.grid.crs}",
                    )
                out[i] = work(names[i], image)

        together(len(names), one, _AT_ONCE)
        return out

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
