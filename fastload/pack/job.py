"""What is packed into which shard: prepared once, and the same in every process."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.base import Dataset
from fastload.datasets.source import Modality, Source
from fastload.datasets.zarrs.either_source import kind_column
from fastload.pack.layer import RESERVED, Layer
from fastload.pack.narrow import Box, Scale, box_of
from fastload.pack.options import Options
from fastload.storage.group import CLOUD_MASK, MOST_ITEM
from fastload_kernels.philox import ORDER, words

_WORD = 2**21
"""Philox word that the order begins with; far from those of epochs and splits."""


@dataclass(frozen=True)
class Job:
    """A dataset on its way into shards.

    Attributes:
        dataset: what is packed.
        folder: of the split, which has one folder a modality.
        options: how.
        layers: its modalities.
        order: int64 ``[N]``, which samples follow each other.
        told: sentences on what is left out or changed; none where nothing is lost.
    """

    dataset: Dataset
    folder: Path
    options: Options
    layers: tuple[Layer, ...]
    order: NDArray[np.int64]
    told: tuple[str, ...]

    @property
    def shards(self) -> int:
        """How many there are."""
        return -(-len(self.order) // self.options.samples_per_shard)

    def members(self, shard: int) -> NDArray[np.int64]:
        """The samples of a shard, counted from 0."""
        each = self.options.samples_per_shard
        return self.order[shard * each : (shard + 1) * each]

    def tar(self, layer: str, shard: int) -> Path:
        """Where a modality's shard is kept."""
        return self.folder / layer / self.options.shard(shard)

    def pack(self, sample: int) -> dict[str, bytes]:
        """A sample of the dataset as one zip for each modality.

        Raises:
            DataError: where it cannot be read.
        """
        place = int(self.dataset.places_of(np.array([sample]))[0])
        key = self.key(sample)
        return {
            layer.name: layer.pack(key, place, self.dataset.row_of(layer.name, sample))
            for layer in self.layers
        }

    def key(self, sample: int) -> str:
        """A sample's key."""
        return str(self.dataset.keys[sample])


def job(dataset: Dataset, folder: Path, options: Options) -> Job:
    """Prepare the packing of a dataset.

    Raises:
        ValueError: says what cannot be packed.
    """
    if dataset.changes or dataset.places != len(dataset):
        raise ValueError("a mixture cannot be packed, since its samples change with the epoch")
    _check_keys(dataset)
    told: list[str] = []
    first = next(iter(dataset.modalities))
    box = box_of(options.crop, dataset.modalities[first])
    scales = _scales(dataset, options, told)
    layers = []
    for name, source in dataset.sources.items():
        own = _texts_as_bytes(dataset.extras) if name == first else {}
        layers.append(_layer(name, source, own, box, scales.get(name), options, told))
    if box is not None:
        told.append(
            f"cropped to rows {box.y} to {box.y + box.height - 1} and columns {box.x} to "
            f"{box.x + box.width - 1}; center_lon and center_lat are those of the whole image"
        )
    return Job(dataset, folder, options, tuple(layers), _order(len(dataset), options), tuple(told))


def _check_keys(dataset: Dataset) -> None:
    keys, counts = np.unique(dataset.keys.astype(str), return_counts=True)
    if len(keys) < len(dataset):
        twice = keys[counts > 1]
        raise ValueError(
            f"{len(twice)} keys stand more than once, such as {str(twice[0])!r}; expected each once"
        )


def _layer(
    name: str,
    source: Source,
    own: Mapping[str, NDArray[Any]],
    box: Box | None,
    scale: Scale | None,
    options: Options,
    told: list[str],
) -> Layer:
    if "/" in name or name == CLOUD_MASK:
        raise ValueError(f"{name!r} is packed with the samples that it belongs to: name these")
    if Path(name).name != name or name.startswith("."):
        raise ValueError(f"a modality must be called as a folder can be, got {name!r}")
    beside = source.beside()
    if box is not None:
        for m in (source.modality, *(other.modality for other in beside.values())):
            _check_box(box, m)
    extra = {n: c for n, c in source.columns.extra.items() if _fits(name, n, c, told)}
    if source.kinds is not None:
        names = np.array([kind.encode() for kind in source.kinds.names])
        extra[kind_column(name)] = names[source.kinds.of]
    own = {n: c for n, c in own.items() if n not in extra and _fits(name, n, c, told)}
    notes = _notes(source.modality, box, scale)
    codec = options.compressor()
    return Layer(name, source, beside, extra, own, box, scale, codec, notes)


def _check_box(box: Box, m: Modality) -> None:
    if box.y + box.height > m.height or box.x + box.width > m.width:
        raise ValueError(
            f"the crop of {box.height}x{box.width} does not lie in {m.name}, which has "
            f"{m.height}x{m.width}; pack modalities of other sizes by themselves"
        )


def _fits(modality: str, name: str, column: NDArray[Any], told: list[str]) -> bool:
    """Whether a column can be kept; another name of the sample's arrays cannot."""
    if name in RESERVED:
        raise ValueError(f"{modality}: a column may not be called {name!r}, as an array is")
    if column.dtype.itemsize > MOST_ITEM and column.dtype.kind == "S":
        told.append(f"{modality}: column {name!r} has texts beyond {MOST_ITEM} bytes: left out")
        return False
    return True


def _notes(m: Modality, box: Box | None, scale: Scale | None) -> dict[str, Any]:
    """What a sample says of how it was narrowed."""
    notes: dict[str, Any] = {}
    if m.picked is not None:
        notes["picked"] = {"stored": list(m.picked), "of": m.stored_bands}
    if box is not None:
        notes["crop"] = {"y": box.y, "x": box.x, "of": [m.height, m.width]}
    if scale is not None:
        notes["uint8"] = {"low": list(scale.low), "high": list(scale.high), "of": m.dtype.str}
    return notes


def _scales(dataset: Dataset, options: Options, told: list[str]) -> dict[str, Scale]:
    """How the modalities become 8 bits; those that have 8 bits, or no statistics, are kept."""
    if not options.uint8:
        return {}
    wide = {n: m for n, m in dataset.modalities.items() if m.dtype.itemsize > 1}
    if options.limits is not None and len(wide) > 1:
        raise ValueError(
            f"limits of uint8 are of one modality, but {list(wide)} have more than 8 bits: pack "
            "them one by one, or go by the statistics"
        )
    scales = {n: s for n, m in wide.items() if (s := _scale(dataset, m, options.limits))}
    for name in scales:
        if dataset.sources[name].kinds is not None and options.limits is None:
            raise ValueError(
                f"{name}: its kinds have statistics of their own: give limits of uint8"
            )
        told.append(f"{name}: kept as 8 bits, with limits and steps that lose what lies between")
    kept = [name for name in dataset.modalities if name not in scales]
    if kept:
        told.append(f"{', '.join(kept)}: kept as stored, having 8 bits or no statistics")
    return scales


def _scale(dataset: Dataset, m: Modality, limits: tuple[float, float] | None) -> Scale | None:
    if limits is not None:
        return Scale((limits[0],) * m.bands, (limits[1],) * m.bands)
    if m.name not in dataset.statistics.mean:
        return None
    mean, std = dataset.statistics.of(m.name, m.shown)
    return Scale(tuple((mean - 2 * std).tolist()), tuple((mean + 2 * std).tolist()))


def _texts_as_bytes(extras: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Columns of one's own as an index has them: int64, float64 or UTF-8."""
    return {name: _wide(column) for name, column in extras.items()}


def _wide(column: NDArray[Any]) -> NDArray[Any]:
    if column.dtype.kind == "U":
        return np.char.encode(column, "utf-8")
    if column.dtype.kind == "S":
        return column
    return column.astype(np.float64 if column.dtype.kind == "f" else np.int64)


def _order(samples: int, options: Options) -> NDArray[np.int64]:
    if options.order is None:
        return np.arange(samples)
    bits = words(options.order, 0, np.arange(samples), ORDER, _WORD, 2)
    return np.argsort((bits[:, 0] << np.uint64(32)) | bits[:, 1], kind="stable")


def sharded(made: Job, samples_per_shard: int) -> Job:
    """The same with another number of samples in a shard."""
    return replace(made, options=replace(made.options, samples_per_shard=samples_per_shard))
