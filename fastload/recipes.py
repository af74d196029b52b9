"""Recipes by name, for the command line: the methods', the published one, files, one's own."""

import dataclasses
import inspect
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from fastload.extras import missing
from fastload.recipe import Radiometry, Recipe
from fastload_kernels import View

RAW, SERIES = "raw", "series"
RECIPES = {
    name: f"ssl4eo_train.methods.{name}:recipe"
    for name in ("moco_v2", "moco_v3", "seco", "dino", "mae", "data2vec")
}
"""Functions that make a recipe, as ``module:function``, by name. They are imported where one is
asked for, since the training package builds on this one."""


def recipe_of(what: str, image_size: int | None = None) -> Recipe | None:
    """A recipe by what names it.

    Args:
        what: "raw" (None: pixels as they are), "series" (`Recipe.series`), a name of `RECIPES`,
            ``module:function`` of one's own, or the path of a JSON file with the fields of
            `Recipe`: `views` a list of objects with `View`'s fields, `radiometry` an object with
            `Radiometry`'s or one for each modality.
        image_size: side of a view, for functions that have such an argument.

    Raises:
        ValueError: lists the names, or names the file and the field that does not fit.
        ImportError: names the extra to install.
    """
    if what == RAW:
        return None
    if what == SERIES:
        return Recipe.series() if image_size is None else Recipe.series(image_size)
    if what.endswith(".json"):
        return _of_file(Path(what))
    return _made(RECIPES.get(what, what), what, image_size)


def _made(place: str, what: str, image_size: int | None) -> Recipe:
    module, colon, name = place.partition(":")
    if not colon:
        raise ValueError(
            f"unknown recipe {what!r}, expected one of {[RAW, SERIES, *RECIPES]}, "
            "module:function, or a .json file"
        )
    try:
        function = getattr(import_module(module), name, None)
    except ImportError as error:
        if what not in RECIPES:
            raise ValueError(f"recipe {what!r}: {error}") from error
        raise missing(f"recipe {what!r} needs what training does ({error})", "train") from error
    if not callable(function):
        raise ValueError(f"recipe {what!r}: {module} has no function {name!r}")
    sized = image_size is not None and "image_size" in inspect.signature(function).parameters
    made = function(image_size=image_size) if sized else function()
    if not isinstance(made, Recipe):
        raise ValueError(f"recipe {what!r}: expected a Recipe of {place}, got {type(made)}")
    return made


def _of_file(path: Path) -> Recipe:
    try:
        text = path.read_text()
    except OSError as error:
        raise ValueError(f"recipe {path}: cannot be read ({error})") from error
    try:
        data = json.loads(text)
        if not isinstance(data, dict) or not isinstance(data.get("views"), list):
            raise ValueError("expected an object with a list 'views'")
        views = tuple(_fields(View, view, "views") for view in data["views"])
        return _fields(
            Recipe, data | {"views": views, "radiometry": _radiometry(data)}, "the recipe"
        )
    except (ValueError, TypeError) as error:
        raise ValueError(f"recipe {path}: {error}") from error


def _radiometry(data: dict[str, Any]) -> Any:
    found = data.get("radiometry")
    if not isinstance(found, dict):
        raise ValueError("expected an object 'radiometry'")
    if "kind" in found:
        return _fields(Radiometry, found, "radiometry")
    return {
        name: _fields(Radiometry, kind, f"radiometry of {name}") for name, kind in found.items()
    }


def _fields(cls: Any, data: Any, where: str) -> Any:
    """An instance of a frozen dataclass; lists become tuples."""
    known = [f.name for f in dataclasses.fields(cls)]
    unknown = [name for name in data if name not in known] if isinstance(data, dict) else [data]
    if unknown:
        raise ValueError(f"{where}: unknown field {unknown[0]!r}, expected some of {known}")
    return cls(**{n: tuple(v) if isinstance(v, list) else v for n, v in data.items()})
