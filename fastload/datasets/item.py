"""One sample as a dict, made slowly and obviously; what the engines are held to."""

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from fastload.datasets.draws import Draw, torchs
from fastload.delivery import sample_of
from fastload.dtypes import TORCH
from fastload.recipe import mask_of
from fastload_kernels import Scaling, View, cpu, reference

if TYPE_CHECKING:
    from fastload.datasets.base import Dataset

Keep = NDArray[np.uint8] | None


class Render(Protocol):
    """Makes one view ``[C, h, w]`` of one timestamp ``[C, H, W]``, see `reference.apply`."""

    def __call__(
        self, source: NDArray[Any], params: np.void, view: View, scaling: Scaling, keep: Keep
    ) -> NDArray[Any]:
        """Make it."""


def by_reference(
    source: NDArray[Any], params: np.void, view: View, scaling: Scaling, keep: Keep
) -> NDArray[Any]:
    """By the definition, in float64."""
    return reference.apply(source, params, view, scaling, keep)


def by_cpu(
    source: NDArray[Any], params: np.void, view: View, scaling: Scaling, keep: Keep
) -> NDArray[Any]:
    """By the fast kernel, in float32."""
    out = np.empty((len(source), *view.shape), np.float32)
    cpu.apply(source, params, view, scaling, keep, out)
    return out


def item(dataset: "Dataset", sample: int, draw: Draw | None, render: Render) -> dict[str, Any]:
    """A sample of a dataset; its views are drawn as told, or else from torch's generator."""
    ids = np.array([sample])
    if dataset.recipe is None:
        raw = {name: torch.from_numpy(dataset.read(name, sample)) for name in dataset.modalities}
        return raw | sample_of(dataset.describe(ids, None), 0)
    draw = draw or torchs()
    params = dataset.draw(ids, draw.seed, draw.epoch)
    keep = dataset.keep(ids, draw.seed, draw.epoch)
    out: dict[str, Any] = {}
    for name, kept in keep.items():
        shown = None if kept is None else kept[0]
        mine = dataset.drawn_on(name, params[0])
        out[name], masks = _views(dataset, name, sample, mine, shown, render)
        if dataset.recipe.mask:
            out[mask_of(name)] = masks
    return out | sample_of(dataset.describe(ids, params["timestamp"]), 0)


def _views(
    dataset: "Dataset", name: str, sample: int, params: NDArray[np.void], keep: Keep, render: Render
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """A modality's views of one sample, and their masks, if the recipe wants these. A date that
    the sample does not have is made like others, and its mask is False."""
    recipe, scaling, m = dataset.recipe, dataset.scalings[name], dataset.modalities[name]
    assert recipe is not None
    views, masks, dates = [], [], int(dataset.dates_of(name, np.array([sample]))[0])
    for v, view in enumerate(recipe.views):
        t, kept = int(params[v]["timestamp"]), None if keep is None else keep[v]
        stored = dataset.stored_timestamps(name, t)
        source = dataset.read(name, sample, stored)
        planes = [render(image, params[v], view, scaling, kept) for image in source]
        views.append(_stacked(planes, t).to(TORCH[recipe.dtype]))
        if recipe.mask:
            seen = scaling.seen(params[v], view, None)
            valid = [
                reference.valid(image, *seen[:2], m.fill_value) & (date < dates)
                for date, image in zip(stored, source, strict=True)
            ]
            masks.append(_stacked(valid, t))
    return views, masks


def _stacked(planes: list[NDArray[Any]], timestamp: int) -> torch.Tensor:
    """All dates ``[T, ...]``, or the only one."""
    return torch.from_numpy(np.stack(planes) if timestamp < 0 else planes[0].copy())
