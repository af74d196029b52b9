"""What a run shows once an epoch: the views that the method sees, and its k-NN accuracy."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

import fastload
from fastload_kernels import Scaling
from ssl4eo_train import knn
from ssl4eo_train.config import Config
from ssl4eo_train.methods import Learner
from ssl4eo_train.tracking import Tracker, cut

NAME = "knn.jsonl"
SAMPLES = 4
"""Samples that are shown."""
STRETCH = (0.02, 0.98)
"""Quantiles that become black and white."""
GAP, PAPER = 2, 255
"""Pixels between two images, and their grey."""


@dataclass(frozen=True)
class Picture:
    """Three bands as red, green and blue."""

    name: str
    bands: tuple[str, str, str]
    limits: tuple[float, float] | None = None
    """What becomes black and white; None for quantiles."""
    together: bool = True
    """Whether the bands share their quantiles, which keeps their colour; else they share none."""


PICTURES = (
    Picture("true colour", ("B04", "B03", "B02")),
    Picture("false colour", ("B08", "B04", "B03")),
    Picture("as stored", ("R", "G", "B"), limits=(0.0, 255.0)),
    Picture("VV, VH, ratio", ("vv", "vh", "vv-vh"), together=False),
)


class Watcher:
    """Looks at a run without disturbing it: no random number is drawn, and no state is changed.

    Writes images to the tracker's events, and the scalar ``knn`` there and to ``knn.jsonl`` in the
    run's folder where the data come with labels.

    Args:
        config: the run's.
        dataset: with a recipe.
        tracker: in processes that write nothing, nothing is looked at.
    """

    def __init__(self, config: Config, dataset: fastload.Dataset, tracker: Tracker) -> None:
        self._config, self._dataset = config, dataset
        self._tracker, self._events = tracker, tracker.events
        self._probe = None if self._events is None else knn.probe(config, dataset)

    def look(self, model: Learner, views: Sequence[Tensor], step: int) -> None:
        """Show the state after a step. A CPU-GPU sync; no collective.

        Args:
            model: its backbone is probed.
            views: what it saw last, one tensor ``[N, C, h, w]`` per view, C as `data.views` has it.
            step: steps done.

        Raises:
            OSError: where it cannot be written.
            DataError: where a labelled location cannot be read and none is to be replaced.
        """
        if self._events is None:
            return
        for name, image in self.images(views).items():
            self._events.add_image(name, image, step)
        if self._probe is not None:
            try:
                accuracy = self._probe.accuracy(model.backbone)
            except fastload.DataError as error:
                if self._config.on_error == "raise":
                    raise
                # Another sample in its place would have another label.
                self._tracker.say(f"no k-NN accuracy after step {step}: {error}")
                return
            self._events.add_scalar("knn", accuracy, step)
            path = Path(self._config.out) / NAME
            cut(path, step - 1)  # What a run that was stopped, and resumed before, left behind.
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "knn": accuracy}) + "\n")

    def images(self, views: Sequence[Tensor]) -> dict[str, NDArray[np.uint8]]:
        """Views as pictures ``[3, H, W]`` by tag: a row a sample, a column a view and date."""
        shown = [view[:SAMPLES].detach().float().cpu().numpy() for view in views]
        found, first = {}, 0
        for name in self._config.modality:
            m = self._dataset.modalities[name]
            last = first + m.bands * (m.timestamps if self._config.seasons == "all" else 1)
            bands, scaling = m.band_names, self._dataset.scalings[name]
            columns = [
                date
                for view in shown
                for date in np.split(view[:, first:last], (last - first) // m.bands, axis=1)
            ]
            stored = [with_ratio(undo(x, scaling), bands) for x in columns]
            for picture in pictures_of(bands):
                found[f"{name}/{picture.name}"] = draw(picture, stored, (*bands, "vv-vh"))
            first = last
        return found


def pictures_of(bands: Sequence[str]) -> list[Picture]:
    """What can be shown of the bands; the first one in grey where nothing better is known."""
    names = {*bands, "vv-vh"}
    fitting = [picture for picture in PICTURES if names.issuperset(picture.bands)]
    return fitting or [Picture(bands[0], (bands[0],) * 3)]


def undo(y: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Numbers ``[N, C, h, w]`` that a network sees, in the units on disk again."""
    scale, offset = (v[:, None, None] for v in (scaling.scale, scaling.offset))
    return y / scale + offset


def with_ratio(x: NDArray[np.float32], bands: Sequence[str]) -> NDArray[np.float32]:
    """Add VV / VH, a difference of decibels, as a last band to ``[N, C, h, w]`` that has both."""
    if not {"vv", "vh"} <= set(bands):
        return x
    vv, vh = x[:, [bands.index("vv")]], x[:, [bands.index("vh")]]
    return np.concatenate([x, vv - vh], axis=1)


def draw(
    picture: Picture, columns: Sequence[NDArray[np.float32]], bands: Sequence[str]
) -> NDArray[np.uint8]:
    """Lay columns of images ``[N, C, h, w]`` out side by side: uint8 ``[3, H, W]``.

    A row has limits of its own, which all of its images share: so each sample is well exposed, and
    what jitter and seasons change can be seen.
    """
    chosen = [bands.index(band) for band in picture.bands]
    height, width = (max(x.shape[axis] for x in columns) + GAP for axis in (2, 3))
    rows = len(columns[0])
    paper = np.full((3, rows * height - GAP, len(columns) * width - GAP), PAPER, np.uint8)
    for n in range(rows):
        images = [x[n, chosen] for x in columns]
        low, high = limits(picture, images)
        for c, image in enumerate(images):
            grey = np.clip((image - low) / np.maximum(high - low, 1e-6), 0, 1) * 255
            _, h, w = image.shape
            paper[:, n * height :, c * width :][:, :h, :w] = grey.round().astype(np.uint8)
    return paper


def limits(picture: Picture, images: Sequence[NDArray[np.float32]]) -> Any:
    """What becomes black and white in images ``[3, h, w]``: two arrays that broadcast."""
    if picture.limits is not None:
        return picture.limits
    pixels = np.concatenate([image.reshape(3, -1) for image in images], axis=1)
    axis = None if picture.together else 1
    return np.quantile(pixels, STRETCH, axis=axis).reshape(2, -1, 1, 1).astype(np.float32)
