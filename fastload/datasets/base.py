"""A dataset: joined sources, a recipe, and the slow, obvious path to one sample."""

import hashlib
from collections.abc import Mapping, Sequence
from copy import copy
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
import torch.utils.data
from numpy.typing import NDArray

import fastload_kernels.reference
from fastload.datasets.source import Modality, Source
from fastload.dtypes import TORCH
from fastload.profile import Stages
from fastload.recipe import Recipe
from fastload.seasons import season
from fastload.statistics import Statistics
from fastload_kernels import Scaling, draw, draw_bands


class Dataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples of one or more sources that are joined by key. Subclasses know a layout on disk.

    Attributes:
        sources: by modality; the first gives time and season.
        rows: for each modality the row in its source of every sample ``[N]``; None where they are
            the same.
        modalities: what each modality looks like.
        keys: bytes ``[N]``.
        lon, lat: float64 ``[N]``, degrees.
        group: uint32 ``[N]``, samples that lie together on disk.
        extras: further columns by name, ``[N]`` or ``[N, T]``.
        seed, epoch: what `dataset[i]` draws its views with.
    """

    def __init__(
        self,
        sources: Mapping[str, Source],
        recipe: Recipe | None,
        statistics: Statistics,
        seed: int,
        rows: Mapping[str, NDArray[np.int64] | None] | None = None,
        extras: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:
        self.sources = dict(sources)
        self.rows = dict.fromkeys(sources) | dict(rows or {})
        self.extras = dict(extras or {})
        self.statistics = statistics
        self.seed = seed
        self.epoch = 0
        self.modalities: dict[str, Modality] = {n: s.modality for n, s in sources.items()}
        self._first = next(iter(sources))
        columns, take = self.sources[self._first].columns, self.rows[self._first]
        picked = slice(None) if take is None else take
        self.keys = columns.key[picked]
        self.lon, self.lat = columns.lon[picked], columns.lat[picked]
        self.group = columns.group[picked]
        self._see(recipe)

    def with_recipe(self, recipe: Recipe | None) -> Self:
        """The same samples, seen another way; nothing is opened again.

        Raises:
            ValueError: where recipe and data do not fit.
        """
        other = copy(self)
        other._see(recipe)
        return other

    def _see(self, recipe: Recipe | None) -> None:
        self.recipe = recipe
        self.scalings: dict[str, Scaling] = {}
        if recipe is not None:
            self._check_geometry()
            self.scalings = {
                name: recipe.radiometry_of(name).scaling(name, m.bands, self.statistics)
                for name, m in self.modalities.items()
            }

    def _check_geometry(self) -> None:
        sizes = {name: (m.height, m.width) for name, m in self.modalities.items()}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"a view's crop is shared by all modalities, so they must agree in size: {sizes}"
            )
        counts = {name: m.timestamps for name, m in self.modalities.items()}
        if any(n not in (1, self.timestamps) for n in counts.values()):
            raise ValueError(
                "a view's timestamp is shared by all modalities, so they must have one timestamp "
                f"or as many as the first: {counts}"
            )
        self.draw(np.zeros(1, np.int64), 0, 0)

    def __len__(self) -> int:
        return len(self.keys)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that `dataset[i]` draws its views for."""
        self.epoch = epoch

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the keys in their order."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(str(self.keys.dtype).encode())
        digest.update(np.ascontiguousarray(self.keys).view(np.uint8).data)
        return digest.hexdigest()

    @cached_property
    def _seasons(self) -> NDArray[np.int8]:
        """Of all rows of the first source ``[., T]``."""
        columns = self.sources[self._first].columns
        return season(columns.time, columns.lat[:, None]).astype(np.int8)

    def __getstate__(self) -> dict[str, Any]:
        """What is quickly found again does not travel."""
        return {name: value for name, value in vars(self).items() if name != "_seasons"}

    @property
    def timestamps(self) -> int:
        """How many timestamps the first modality has; views draw among these."""
        return next(iter(self.modalities.values())).timestamps

    def draw(self, samples: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.void]:
        """View parameters ``[N, V]`` of samples; see `fastload_kernels.draw`."""
        assert self.recipe is not None
        m = next(iter(self.modalities.values()))
        return draw(self.recipe.views, seed, epoch, samples, m.height, m.width, m.timestamps)

    def keep(
        self, samples: NDArray[np.int64], seed: int, epoch: int
    ) -> dict[str, NDArray[np.uint8] | None]:
        """Kept bands ``[N, V, C]`` by modality; None where the recipe drops none."""
        assert self.recipe is not None
        views = self.recipe.views
        drops = any(view.drop for view in views)
        return {
            name: draw_bands(views, seed, epoch, samples, m.bands) if drops else None
            for name, m in self.modalities.items()
        }

    def rows_of(self, modality: str, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows ``[B]`` of samples ``[B]`` in a modality's source."""
        rows = self.rows[modality]
        return samples if rows is None else rows[samples]

    def row_of(self, modality: str, sample: int) -> int:
        """Row of a sample in a modality's source."""
        rows = self.rows[modality]
        return sample if rows is None else int(rows[sample])

    def times(self, sample: int) -> NDArray[np.int64]:
        """When a sample was seen in the first modality ``[T]``, ns since 1970."""
        columns = self.sources[self._first].columns
        return np.asarray(columns.time[self.row_of(self._first, sample)])

    def cloud(self, sample: int) -> NDArray[np.float32]:
        """Share of cloudy pixels of a sample in the first modality ``[T]``; NaN where unknown."""
        columns = self.sources[self._first].columns
        return np.asarray(columns.cloud[self.row_of(self._first, sample)])

    def read(
        self, modality: str, sample: int, timestamps: Sequence[int] | None = None
    ) -> NDArray[Any]:
        """Decoded pixels ``[T, C, H, W]`` in the units on disk, native byte order.

        Only the chunks that `timestamps` (default: all) need are read.

        Raises:
            DataError: names shard, member, offset and reason.
            IndexError: where there is no such timestamp.
        """
        m = self.modalities[modality]
        wanted = range(m.timestamps) if timestamps is None else timestamps
        if any(not 0 <= t < m.timestamps for t in wanted):
            raise IndexError(f"timestamps of {modality} are 0 to {m.timestamps - 1}, got {wanted}")
        each = sorted(set(wanted))
        out = np.empty((len(each), *m.shape[1:]), m.dtype)
        self.sources[modality].read(self.row_of(modality, sample), each, out, Stages())
        return out if list(wanted) == each else out[[each.index(t) for t in wanted]]

    def describe(
        self, samples: NDArray[np.int64], timestamps: NDArray[np.int32] | None
    ) -> dict[str, Any]:
        """Keys, places and times of samples ``[B]``, as a batch has them.

        `timestamps` ``[B, V]`` are those of the views, -1 for all; None gives all times ``[B, T]``.
        """
        rows = self.rows_of(self._first, samples)
        time = self.sources[self._first].columns.time[rows]
        seasons = self._seasons[rows].astype(np.int64)
        return {
            "key": _texts(self.keys[samples]),
            "index": torch.from_numpy(samples.copy()),
            "lon": torch.from_numpy(self.lon[samples]),
            "lat": torch.from_numpy(self.lat[samples]),
            "time": _of_views(time, timestamps),
            "season": _of_views(seasons, timestamps),
        }

    def _describe_one(self, sample: int, timestamps: NDArray[np.int32] | None) -> dict[str, Any]:
        many = self.describe(np.array([sample]), timestamps)
        one = {name: many[name][0].item() for name in ("index", "lon", "lat")}
        times = {
            name: [view[0] for view in many[name]] if timestamps is not None else many[name][0]
            for name in ("time", "season")
        }
        return {"key": many["key"][0]} | one | times

    def __getitem__(self, sample: int) -> dict[str, Any]:
        """One sample as a dict; see DataLoader for the names. Views by `reference`."""
        sample = range(len(self))[sample]
        if self.recipe is None:
            raw = {name: torch.from_numpy(self.read(name, sample)) for name in self.modalities}
            return raw | self._describe_one(sample, None)
        ids = np.array([sample])
        params = self.draw(ids, self.seed, self.epoch)[0]
        keep = self.keep(ids, self.seed, self.epoch)
        views: dict[str, Any] = {name: [] for name in self.modalities}
        for name in self.modalities:
            kept = keep[name]
            for v, view in enumerate(self.recipe.views):
                t = int(params[v]["timestamp"])
                source = self.read(name, sample, self.stored_timestamps(name, t))
                planes = [
                    fastload_kernels.reference.apply(
                        image,
                        params[v],
                        view,
                        self.scalings[name],
                        None if kept is None else kept[0, v],
                    )
                    for image in source
                ]
                stacked = torch.from_numpy(np.stack(planes) if t < 0 else planes[0].copy())
                views[name].append(stacked.to(TORCH[self.recipe.dtype]))
        return views | self._describe_one(sample, params["timestamp"][None])

    def slots(self, modality: str) -> list[tuple[int, ...]]:
        """Shape, as it lies in memory, of one sample's share of each of a modality's tensors: one
        per view, or one for the raw pixels."""
        m = self.modalities[modality]
        if self.recipe is None:
            return [m.shape]
        last, shapes = self.recipe.channels_last, list[tuple[int, ...]]()
        for view in self.recipe.views:
            h, w = view.shape
            shape = (h, w, m.bands) if last else (m.bands, h, w)
            shapes.append((m.timestamps, *shape) if view.timestamp == "all" else shape)
        return shapes

    def stored_timestamps(self, modality: str, timestamp: int) -> Sequence[int]:
        """Which timestamps of a modality a view needs: all for -1; a single one serves for any."""
        T = self.modalities[modality].timestamps
        if timestamp < 0:
            return range(T)
        return (timestamp if T > 1 else 0,)


def _texts(keys: NDArray[np.bytes_]) -> list[str]:
    """Keys as text."""
    try:
        return list(keys.astype(str).tolist())  # ASCII, at once
    except UnicodeDecodeError:
        return [key.decode() for key in keys.tolist()]


def _of_views(values: NDArray[np.int64], timestamps: NDArray[np.int32] | None) -> Any:
    """Entries ``[B]`` (or ``[B, T]`` for all) of ``[B, T]`` for each view; all without views."""
    if timestamps is None:
        return torch.from_numpy(values.copy())
    rows = np.arange(len(values))
    picked = [values.copy() if (t < 0).any() else values[rows, t] for t in timestamps.T]
    return [torch.from_numpy(p) for p in picked]
