"""The option `pixels`: whether views are of floats, or of 8 bits as SSL4EO-S12 trained."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from fastload.recipe import Radiometry, Recipe
from fastload_kernels import View
from ssl4eo_train.methods.common import RADIOMETRY, expect

PIXELS: dict[str, Literal["fused", "uint8", "uint8_wrap"]] = {
    "float": "fused",
    "uint8": "uint8",
    "uint8_wrap": "uint8_wrap",
}
"""What the option may be, and the `View.steps` of it."""


def recipe_of(views: Iterable[View], pixels: str) -> Recipe:
    """Views in the radiometry of all methods, with pixels as the option says.

    Args:
        views: as of floats.
        pixels: ``float``: reflectance is clipped, and nothing is rounded or clipped afterwards.
            ``uint8_wrap``, as SSL4EO-S12 published: whole grey levels of 255, 39.2 DN each, from
            the DN on and after each operation, truncated, and modulo 256 where they leave them:
            12000 DN are grey 50, and contrast makes dark pixels bright. ``uint8``: clipped instead.
    """
    seen = tuple(replace(view, steps=PIXELS[pixels]) for view in views)
    if pixels != "uint8_wrap":
        return Recipe(seen, RADIOMETRY)
    # Of the published stretches, only that of reflectance has no clip of its own.
    open_end = {
        name: Radiometry.reflectance(clip=False) if kind.kind == "reflectance" else kind
        for name, kind in RADIOMETRY.items()
    }
    return Recipe(seen, open_end)


def expect_pixels(pixels: str) -> None:
    """Refuse what is not in `PIXELS`.

    Raises:
        SetupError: names them.
    """
    expect(pixels in PIXELS, "pixels", repr(pixels), f"one of {', '.join(PIXELS)}")
