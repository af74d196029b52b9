"""A dataset: joined sources, a recipe, and the slow, obvious path to one sample."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import cached_property
from operator import index
from typing import Any, Literal, Self

import numpy as np
import torch
import torch.utils.data
from numpy.typing import ArrayLike, NDArray

from fastload.datasets import choose
from fastload.datasets.dates import check_modalities, check_views, lacking
from fastload.datasets.draws import Draw, Drawn
from fastload.datasets.entries import NAMES, checked, entry, of_views, texts
from fastload.datasets.grids import grids
from fastload.datasets.item import Render, by_cpu, by_reference, item
from fastload.datasets.kinds import Scaled, by_scaling, scalings_of
from fastload.datasets.labels.with_labels import labelled
from fastload.datasets.source import Modality, Source, read_dates
from fastload.profile import Stages
from fastload.recipe import Recipe
from fastload.seasons import season
from fastload.statistics import Statistics
from fastload.storage.store import Store
from fastload_kernels import Scaling, draw, draw_bands
from fastload_kernels.grid import Grid
from fastload_kernels.view import Records, draw_timestamps


class Key(str):
    """A key as text; `decode`, for code that was written when keys were bytes, changes nothing."""

    __slots__ = ()

    def decode(self, *_: str) -> str:
        """Itself."""
        return self


class Dataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Samples of one or more sources that are joined by key. Subclasses know a layout on disk.

    ``dataset[i]`` draws its views from torch's generator, like any torch transform, until
    `set_epoch` pins them to a function of (seed, epoch, sample).

    Attributes:
        sources: by modality; the first gives time and season.
        rows: for each modality the row in its source of every sample ``[N]``; None where they are
            the same.
        ids: int64 ``[N]``, the samples' numbers in the dataset that was opened, which their views
            are drawn by and which batches call `index`; None where they are 0 to N - 1.
        numbers: how many samples that dataset has.
        modalities: what each modality looks like.
        lon, lat: float64 ``[N]``, degrees.
        group: uint32 ``[N]``, samples that lie together on disk.
        seed, epoch: what ``dataset[i]`` draws its views with; None for torch's generator.
        same_ground: whether all modalities are known to cover the same ground, where some do not
            say what they cover (`Modality.ground`): so those on other grids share a view's crop.
        grids: by modality, how crops lie on its pixels; None where it has those of the first.
        extras: columns of one's own, which batches have too: ``[N]``, or ``[N, T]`` with an entry
            for each timestamp; numbers, bool or text. A vector for each sample, such as a multi-hot
            label, is ``[N, 1, K]``, and ``[B, K]`` in a batch.
    """

    changes = False
    """Whether its samples change with the epoch, see `in_epoch`."""

    def __init__(
        self,
        sources: Mapping[str, Source],
        recipe: Recipe | None,
        statistics: Statistics,
        seed: int,
        rows: Mapping[str, NDArray[np.int64] | None] | None = None,
        extras: Mapping[str, NDArray[Any]] | None = None,
        same_ground: bool = False,
    ) -> None:
        self.sources = dict(sources)
        self.rows = dict.fromkeys(sources) | dict(rows or {})
        self.statistics = statistics
        self.seed = index(seed)
        self.epoch: int | None = None
        self.modalities: dict[str, Modality] = {n: s.modality for n, s in sources.items()}
        self._lacking = lacking(sources)
        self.same_ground = same_ground
        self._first = next(iter(sources))
        columns, take = self.sources[self._first].columns, self.rows[self._first]
        picked = slice(None) if take is None else take
        self._keys = columns.key[picked]
        self.lon, self.lat = columns.lon[picked], columns.lat[picked]
        self.group = columns.group[picked]
        self.ids: NDArray[np.int64] | None = None
        self.numbers = len(self._keys)
        self._see(recipe)
        self.extras = checked(extras or {}, self.places, self.timestamps, self._taken())

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """Names of the modalities that lie at a place and may be asked for one by one, for tools
        that look at all of them; empty where a layout does not tell."""
        return []

    @property
    def layers(self) -> dict[str, Source]:
        """`sources`, by the name that they had before."""
        return self.sources

    def with_recipe(self, recipe: Recipe | None) -> Self:
        """The same samples, seen another way; nothing is opened again.

        Raises:
            ValueError: where recipe and data do not fit.
        """
        other = copy(self)
        other._see(recipe)
        return other

    # Choosing samples

    def subset(self, which: ArrayLike | Iterable[Any]) -> Self:
        """Some of the samples, as a dataset of the same kind; nothing is opened or copied on disk.

        Args:
            which: numbers ``[n]`` (negative ones count from the end), a mask ``[N]``, or keys.

        A sample keeps its `index` and so its views: they are those it has in the whole dataset.

        Raises:
            ValueError, IndexError, KeyError: say what does not fit.
        """
        chosen = choose.positions(self, which)
        if not len(chosen):
            raise ValueError("subset: no sample is chosen")
        rows = {name: self.rows_of(name, chosen) for name in self.rows}
        return self._rearranged(rows, chosen)

    def _rearranged(
        self, rows: Mapping[str, NDArray[np.int64] | None], chosen: NDArray[np.int64]
    ) -> Self:
        other = copy(self)
        for name in _FOUND_AGAIN:
            vars(other).pop(name, None)
        other.rows, other.ids = dict(rows), self.ids_of(chosen)
        other._keys, other.group = self._keys[chosen], self.group[chosen]
        other.lon, other.lat = self.lon[chosen], self.lat[chosen]
        other.extras = {name: column[chosen] for name, column in self.extras.items()}
        return other

    def split(self, fractions: Sequence[float], seed: int = 0) -> tuple[Self, ...]:
        """Disjoint random parts, a function of the seed, each in the order of this dataset.

        Args:
            fractions: of the samples, or whole numbers of them, see `choose.parts`.
            seed: 64 bits.
        """
        return tuple(self.subset(p) for p in choose.parts(len(self), fractions, index(seed)))

    def filter(
        self,
        bbox: Sequence[float] | None = None,
        months: Iterable[int] | None = None,
        seasons: Iterable[int | str] | None = None,
        since: str | np.datetime64 | None = None,
        until: str | np.datetime64 | None = None,
        max_cloud: float | None = None,
        dates: Literal["any", "all"] = "any",
        min_dates: int | None = None,
    ) -> Self:
        """The samples that fit all that is given, found without reading pixels.

        Args:
            bbox: (west, south, east, north), degrees; west > east crosses the antimeridian.
            months: 1 to 12.
            seasons: local ones, 0 winter to 3 autumn, or their names.
            since, until: dates; the second is excluded.
            max_cloud: largest share of cloudy pixels, 0 to 1, that any date may have; a sample with
                a date of unknown share is left out.
            dates: whether "any" or "all" dates that a sample has must be in the months, seasons and
                span, all three at once. An unknown date is in none.
            min_dates: fewest dates that a sample must have, in every modality that has as many.

        Raises:
            ValueError: where an argument does not fit, or no sample does.
        """
        fits = choose.matching(self, bbox, months, seasons, since, until, max_cloud, dates)
        if min_dates is not None:
            fits &= choose.lasting(self, min_dates)
        if not fits.any():
            raise ValueError(f"filter: none of the {len(self)} samples fits (dates={dates!r})")
        return self.subset(fits)

    @cached_property
    def keys(self) -> NDArray[np.object_]:
        """The samples' keys ``[N]``, text."""
        keys = np.empty(len(self._keys), object)
        keys[:] = [Key(key) for key in texts(self._keys)]
        return keys

    @cached_property
    def number_of(self) -> dict[str, int]:
        """Where each key stands, the first time."""
        return {key: i for i, key in reversed(list(enumerate(texts(self._keys))))}

    def index_of(self, key: str) -> int:
        """The number i of the sample ``dataset[i]`` with a key.

        Raises:
            KeyError: where there is none.
        """
        if key not in self.number_of:
            raise KeyError(f"there is no sample {key!r} among {len(self)}")
        return self.number_of[key]

    def ids_of(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """What samples ``[B]`` are called in batches, and what their views are drawn by."""
        return samples if self.ids is None else self.ids[samples]

    @property
    def places(self) -> int:
        """How many places the columns have; a mixture has more samples than these, or fewer."""
        return len(self._keys)

    def places_of(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where samples ``[B]`` stand in the columns."""
        return samples

    def in_epoch(self, epoch: int, items: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples that items ``[B]`` of an epoch's order are."""
        return items

    def with_labels(
        self,
        source: Any,
        key: str = "key",
        columns: Sequence[str] | None = None,
        missing: Literal["error", "drop", "fill"] = "error",
    ) -> Self:
        """The same samples with labels, joined by key, as further `extras`.

        Args:
            source: a csv or parquet file, a data frame, or a mapping from keys to labels (or to
                mappings of several by name).
            key: the column of keys, which are text as `keys` are.
            columns: the columns to take; all but the keys by default. Of a plain mapping, one
                name; "label" by default.
            missing: what is done about keys without a label: "error", "drop" the samples, or
                "fill" in -1, NaN or "" (numbers that are whole, others, text).

        Raises:
            ValueError: says how many keys have no label and names some, or what else does not fit.
            ImportError: where reading parquet needs a library that is not there.
        """
        return labelled(self, source, key, columns, missing)

    def _taken(self) -> set[str]:
        """Names that a batch has beside its extras."""
        others = {f"time_{name}" for name in self.modalities}
        if self._lacking:
            others |= {"present", *(f"present_{name}" for name in self.modalities)}
        return {*NAMES, *self.modalities, *others}

    def _see(self, recipe: Recipe | None) -> None:
        self.recipe = recipe
        self.scalings: dict[str, Scaling] = {}
        self.grids: dict[str, Grid | None] = {}
        if recipe is not None:
            self._check_geometry()
            self._by_kind = {
                name: scalings_of(source, name, recipe, self.statistics)
                for name, source in self.sources.items()
            }
            self.scalings = {name: kinds[0] for name, kinds in self._by_kind.items()}

    def by_scaling(self, modality: str, samples: NDArray[np.int64]) -> list[Scaled]:
        """Samples ``[B]``, those together whose pixels of a modality share a radiometry; all do,
        unless the modality has samples of several kinds."""
        rows = self.rows_of(modality, samples)
        return by_scaling(self.sources[modality], self._by_kind[modality], rows)

    def all_scalings(self, modality: str) -> tuple[Scaling, ...]:
        """The radiometry of each kind of samples that a modality has."""
        return self._by_kind[modality]

    def scaling_of(self, modality: str, sample: int) -> Scaling:
        """The radiometry of a modality's pixels of one sample."""
        if len(self._by_kind[modality]) == 1:
            return self.scalings[modality]
        return self.by_scaling(modality, np.array([sample]))[0].scaling

    def _check_geometry(self) -> None:
        self.grids = grids(self.modalities, self.same_ground)
        counts = {name: m.timestamps for name, m in self.modalities.items()}
        if any(n not in (1, self.timestamps) for n in counts.values()):
            raise ValueError(
                "a view's timestamp is shared by all modalities, so they must have one timestamp "
                f"or as many as the first: {counts}"
            )
        assert self.recipe is not None
        check_modalities(self.modalities, self._lacking, self.dates_of)
        if self._first in self._lacking:
            check_views(self.recipe.views, self.all_dates)
        self.draw(np.zeros(1, np.int64), 0, 0)

    def __len__(self) -> int:
        return len(self._keys)

    def set_epoch(self, epoch: int | None) -> None:
        """Pin what ``dataset[i]`` draws to an epoch, as a loader with the same seed draws it; None
        gives the draws back to torch's generator.

        A worker that has a copy of the dataset does not hear of it.
        """
        self.epoch = None if epoch is None else index(epoch)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the keys in their order, and of the ids if they are others."""
        digest = hashlib.blake2b(digest_size=8)
        # Keys may be wider than the longest, where longer ones once stood in the same index.
        width = max(1, int(np.char.str_len(self._keys).max(initial=1)))
        keys = np.ascontiguousarray(self._keys.astype(f"S{width}"))
        digest.update(str(keys.dtype).encode())
        digest.update(keys.view(np.uint8).data)
        if self.ids is not None:
            digest.update(np.ascontiguousarray(self.ids, "<i8").data)
        return digest.hexdigest()

    @cached_property
    def borders(self) -> str:
        """Digest of which samples lie together on disk, which block shuffle depends on."""
        _, first, number = np.unique(self.group, return_index=True, return_inverse=True)
        by_appearance = np.argsort(np.argsort(first))[number].astype("<u4")
        return hashlib.blake2b(by_appearance.tobytes(), digest_size=8).hexdigest()

    @cached_property
    def _seasons(self) -> NDArray[np.int8]:
        """Of all rows of the first source ``[., T]``."""
        columns = self.sources[self._first].columns
        return season(columns.time, columns.lat[:, None]).astype(np.int8)

    def _rows(self) -> NDArray[np.int64] | slice:
        """Rows of all samples in the first source."""
        rows = self.rows[self._first]
        return slice(None) if rows is None else rows

    @property
    def all_times(self) -> NDArray[np.int64]:
        """When each sample was seen in the first modality ``[N, T]``, ns since 1970."""
        return np.asarray(self.sources[self._first].columns.time[self._rows()])

    @property
    def all_seasons(self) -> NDArray[np.int8]:
        """The local season of each of these dates ``[N, T]``."""
        return np.asarray(self._seasons[self._rows()])

    @property
    def all_clouds(self) -> NDArray[np.float32]:
        """Share of cloudy pixels on each of these dates ``[N, T]``; NaN where unknown."""
        return np.asarray(self.sources[self._first].columns.cloud[self._rows()])

    @property
    def all_dates(self) -> NDArray[np.int32]:
        """How many dates of the first modality each sample has ``[N]``: the first ones of T."""
        return self.dates_of(self._first)

    def dates_of(
        self, modality: str, samples: NDArray[np.int64] | None = None
    ) -> NDArray[np.int32]:
        """How many dates of a modality samples ``[B]`` have, all by default."""
        if modality not in self._lacking:
            count = self.places if samples is None else len(samples)
            return np.full(count, self.modalities[modality].timestamps, np.int32)
        rows = self.rows[modality] if samples is None else self.rows_of(modality, samples)
        return self._lacking[modality][slice(None) if rows is None else rows]

    def present_of(self, modality: str, samples: NDArray[np.int64]) -> NDArray[np.bool_] | None:
        """Which dates of a modality samples ``[B]`` have ``[B, T]``; None where all that were
        opened have all."""
        if modality not in self._lacking:
            return None
        T = self.modalities[modality].timestamps
        return np.asarray(np.arange(T) < self.dates_of(modality, samples)[:, None])

    def __getstate__(self) -> dict[str, Any]:
        """What is quickly found again does not travel."""
        return {name: value for name, value in vars(self).items() if name not in _FOUND_AGAIN}

    @property
    def timestamps(self) -> int:
        """How many timestamps the first modality has; views draw among these."""
        return next(iter(self.modalities.values())).timestamps

    def draw(self, samples: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.void]:
        """View parameters ``[N, V]`` of samples; see `fastload_kernels.draw`."""
        assert self.recipe is not None
        m = next(iter(self.modalities.values()))
        ids, views = self.draw_ids(samples), self.recipe.views
        return draw(views, seed, epoch, ids, m.height, m.width, self._drawn_among(samples))

    def drawn_on(self, modality: str, params: Records) -> Records:
        """Drawn parameters with the boxes that they are on a modality's grid."""
        grid = self.grids[modality]
        return params if grid is None else grid.mapped(params)

    def draw_timestamps(
        self, samples: NDArray[np.int64], seed: int, epoch: int
    ) -> NDArray[np.int64]:
        """Only the timestamps ``[N, V]`` of `draw`; -1 is all."""
        assert self.recipe is not None
        ids = self.draw_ids(samples)
        return draw_timestamps(self.recipe.views, seed, epoch, ids, self._drawn_among(samples))

    def _drawn_among(self, samples: NDArray[np.int64]) -> int | NDArray[np.int32]:
        some_lack = self._first in self._lacking
        return self.dates_of(self._first, samples) if some_lack else self.timestamps

    def draw_ids(self, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The sample ids ``[N]`` that views are drawn by, each below 2**32."""
        return self.ids_of(samples)

    def keep(
        self, samples: NDArray[np.int64], seed: int, epoch: int
    ) -> dict[str, NDArray[np.uint8] | None]:
        """Kept bands ``[N, V, C]`` by modality; None where the recipe drops none."""
        assert self.recipe is not None
        views = self.recipe.views
        drops = any(view.drop for view in views)
        return {
            name: draw_bands(views, seed, epoch, self.draw_ids(samples), m.bands) if drops else None
            for name, m in self.modalities.items()
        }

    def rows_of(self, modality: str, samples: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows ``[B]`` of samples ``[B]`` in a modality's source."""
        rows, places = self.rows[modality], self.places_of(samples)
        return places if rows is None else rows[places]

    def row_of(self, modality: str, sample: int) -> int:
        """Row of a sample in a modality's source."""
        return int(self.rows_of(modality, np.array([sample]))[0])

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

        Only the chunks that `timestamps` (default: all) need are read. A date that the sample does
        not have is `Modality.absent`.

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
        read_dates(self.sources[modality], self.row_of(modality, sample), each, out, Stages())
        return out if list(wanted) == each else out[[each.index(t) for t in wanted]]

    def describe(
        self, samples: NDArray[np.int64], timestamps: NDArray[np.int32] | None
    ) -> dict[str, Any]:
        """Keys, places and times of samples ``[B]``, as a batch has them.

        `timestamps` ``[B, V]`` are those of the views, -1 for all; None gives all times ``[B, T]``.
        """
        rows, places = self.rows_of(self._first, samples), self.places_of(samples)
        time = self.sources[self._first].columns.time[rows]
        seasons = self._seasons[rows].astype(np.int64)
        return {
            "key": texts(self._keys[places]),
            "index": torch.from_numpy(self.ids_of(samples).copy()),
            "lon": torch.from_numpy(self.lon[places]),
            "lat": torch.from_numpy(self.lat[places]),
            "time": of_views(time, timestamps),
            "season": of_views(seasons, timestamps),
            **self._other_times(samples, timestamps),
            **self._presence(samples, timestamps),
            **{name: entry(v[places], timestamps) for name, v in self.extras.items()},
        }

    def _other_times(
        self, samples: NDArray[np.int64], timestamps: NDArray[np.int32] | None
    ) -> dict[str, Any]:
        """Dates of the modalities that have as many as the first, or a single one."""
        others = [name for name in self.modalities if name != self._first]
        return {
            f"time_{name}": of_views(
                self.sources[name].columns.time[self.rows_of(name, samples)], timestamps
            )
            for name in others
            if self.modalities[name].timestamps in (1, self.timestamps)
        }

    def _presence(
        self, samples: NDArray[np.int64], timestamps: NDArray[np.int32] | None
    ) -> dict[str, Any]:
        """Which dates are there, where samples may lack some; views agree in that."""
        shown = [self._first] if timestamps is not None else list(self._lacking)
        found = {name: self.present_of(name, samples) for name in shown}
        return {
            "present" if name == self._first else f"present_{name}": of_views(flags, timestamps)
            for name, flags in found.items()
            if flags is not None
        }

    def __getitem__(self, sample: int) -> dict[str, Any]:
        """One sample as a dict; see DataLoader for the names. Views by `reference`."""
        return self._items([sample], by_reference)[0]

    def __getitems__(self, samples: Sequence[int]) -> list[dict[str, Any]]:
        """Some samples, for torch's own loader. Views by `cpu`, which is faster."""
        if type(self).__getitem__ is not Dataset.__getitem__:
            return [self[sample] for sample in samples]
        return self._items(samples, by_cpu)

    def _items(self, samples: Sequence[int], render: Render) -> list[dict[str, Any]]:
        out = []
        for number in samples:
            pinned = None if self.epoch is None else Draw(self.seed, self.epoch)
            drawn = number.draw if isinstance(number, Drawn) else pinned
            at = np.array([range(len(self))[index(number)]])
            [sample] = self.in_epoch(0 if drawn is None else drawn.epoch, at)
            out.append(item(self, int(sample), drawn, render))
        return out

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

    def mask_slots(self, modality: str) -> list[tuple[int, ...]]:
        """Shape of one sample's share of each of a modality's masks; none where none is wanted."""
        if self.recipe is None or not self.recipe.mask:
            return []
        T = self.modalities[modality].timestamps
        views = self.recipe.views
        return [(T, *v.shape) if v.timestamp == "all" else v.shape for v in views]

    def stored_timestamps(self, modality: str, timestamp: int) -> Sequence[int]:
        """Which timestamps of a modality a view needs: all for -1; a single one serves for any."""
        T = self.modalities[modality].timestamps
        if timestamp < 0:
            return range(T)
        return (timestamp if T > 1 else 0,)


_FOUND_AGAIN = ("keys", "number_of", "fingerprint", "borders", "_seasons")
"""Attributes that are derived from others."""
