"""What a recipe's views look like, and with which drawn parameters."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.inspect.pictures import Image, coloured, composition, stretch
from fastload.recipe import Recipe


@dataclass(frozen=True)
class Shown:
    """One view.

    Attributes:
        epoch, view: of the draw.
        timestamp: of the source, -1 for all.
        box: top, left, height and width of the crop in source pixels.
        words: the drawn parameters.
        pictures: by modality, one for each date.
    """

    epoch: int
    view: int
    timestamp: int
    box: tuple[int, int, int, int]
    words: list[str]
    pictures: dict[str, list[Image]]


def fitting(dataset: Dataset, recipe: Recipe) -> tuple[Dataset, list[str]]:
    """The dataset with as many of its modalities as the recipe fits, and why others are left out.

    Raises:
        ValueError: where it fits none.
    """
    kept, why = list[str](), list[str]()
    found: Dataset | None = None
    for name in dataset.sources:
        try:
            found = _of(dataset, [*kept, name], recipe)
            kept.append(name)
        except ValueError as error:
            why.append(f"{name} is left out: {error}")
    if found is None or not kept:
        raise ValueError(f"the recipe fits no modality: {'; '.join(why)}")
    return _of(dataset, kept, recipe), why


def _of(dataset: Dataset, names: list[str], recipe: Recipe) -> Dataset:
    rows = {name: dataset.rows_of(name, np.arange(len(dataset))) for name in names}
    sources = {name: dataset.sources[name] for name in names}
    return Dataset(sources, recipe, dataset.statistics, dataset.seed, rows)


def views(dataset: Dataset, sample: int, epochs: int) -> Iterator[Shown]:
    """All views of a sample in some epochs, as a loader with the dataset's seed draws them."""
    recipe, ids = dataset.recipe, np.array([sample])
    assert recipe is not None
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        item = dataset[sample]
        params = dataset.draw(ids, dataset.seed, epoch)[0]
        keep = dataset.keep(ids, dataset.seed, epoch)
        for v in range(len(recipe.views)):
            p = params[v]
            box = tuple(int(p[name]) for name in ("top", "left", "height", "width"))
            words = [*_words(p), *_dropped(dataset, keep, v)]
            images = {n: _pictures(dataset, n, item[n][v]) for n in dataset.modalities}
            yield Shown(epoch, v, int(p["timestamp"]), box, words, images)  # type: ignore[arg-type]


def _pictures(dataset: Dataset, name: str, view: Any) -> list[Image]:
    m = dataset.modalities[name]
    images = view.float().numpy()
    images = images[None] if images.ndim == 3 else images
    shown: NDArray[Any] = images[:, composition(m.shown.names, m.bands)]
    low, high = stretch(shown)
    return [coloured(image, low, high) for image in shown]


def _words(p: np.void) -> Iterator[str]:
    """What was drawn, of what does something."""
    t = int(p["timestamp"])
    yield "all dates" if t < 0 else f"date {t}"
    yield (
        f"crop {int(p['height'])} x {int(p['width'])} at row {int(p['top'])}, "
        f"column {int(p['left'])}"
    )
    turns = {"transpose": "transposed", "flip_y": "flipped up-down", "flip_x": "flipped left-right"}
    yield from (word for name, word in turns.items() if p[name])
    yield from (f"{n} {float(p[n]):.2f}" for n in ("brightness", "contrast") if p[n] != 1)
    if p["gray"]:
        yield "gray"
    if p["sigma"]:
        yield f"blur {float(p['sigma']):.2f} px"
    if not np.isnan(p["solarize"]):
        side = "below" if p["solarize_dark"] else "above"
        yield f"solarized {side} {float(p['solarize']):.2f}"


def _dropped(dataset: Dataset, keep: dict[str, Any], view: int) -> Iterator[str]:
    for name, kept in keep.items():
        if kept is not None and not kept[0, view].all():
            m = dataset.modalities[name]
            names = m.shown.names or [str(i) for i in range(m.bands)]
            lost = [n for n, k in zip(names, kept[0, view], strict=True) if not k]
            yield f"{name} without {', '.join(lost)}"
