"""Copernicus-Pretrain as published in WebDataset tars of ``{cell}.{modality}.pth``, unconverted.

Layout: ``{root}/{split}/example-*.tar``. A cell of 0.25 degrees has ``s1_grd`` ``[P, 4, 2, 264,
264]`` and ``s2_toa`` ``[P, 4, 13, 264, 264]`` of P local patches, ``s3_olci`` ``[8, 21, 96, 96]``,
``s5p_co``, ``s5p_no2``, ``s5p_o3`` and ``s5p_so2`` ``[12, 1, 28, 28]``, ``dem`` ``[960, 960]`` of
the whole cell, and a json that names cell, patch and date of each image. Source: the published
writer and reader (zhu-xlab/Copernicus-FM, Copernicus-Pretrain/data_loading).
"""

import posixpath
import re
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, Literal

import numpy as np

from fastload.bands import PUBLISHED, Asked, by_modality
from fastload.datasets.base import Dataset
from fastload.datasets.columns import chosen
from fastload.datasets.join_sources import check_options
from fastload.datasets.known import MOST, looks_like
from fastload.datasets.source import Source
from fastload.datasets.tensors.cell_images import CellImages, cell_images
from fastload.datasets.tensors.cell_samples import columns_of, images_of, samples_of
from fastload.datasets.tensors.tensor_source import TensorSource
from fastload.recipe import Recipe
from fastload.statistics import What
from fastload.statistics import statistics as found_statistics
from fastload.storage.at import Place, at
from fastload.storage.cell_scan import FOREIGN, JSON, PTH, scan_cells, stacks_of
from fastload.storage.errors import DataError
from fastload.storage.formats.tar import members
from fastload.storage.index import Index, open_index
from fastload.storage.store import Store

BANDS = {
    "s1_grd": PUBLISHED["S1GRD"],
    "s2_toa": PUBLISHED["S2L1C"],
    "s3_olci": tuple(f"Oa{i:02d}" for i in range(1, 22)),
    "s5p_co": ("CO",), "s5p_no2": ("NO2",), "s5p_o3": ("O3",), "s5p_so2": ("SO2",),
    "dem": ("DEM",),
}  # fmt: skip
"""Names of the bands in the order on disk."""
PATCH_SPACING, CELL = 10.0, 28_800.0
"""Metres between pixels of a local patch; and the nominal side of a cell, which is 96 pixels of 300
m: the images of whole cells were all cut from the same box, and resized."""
_TAR = re.compile(r"example-\d+\.tar")
_OWN = "copernicus"


class CopernicusPretrain(Dataset):
    """Copernicus-Pretrain (WebDataset release), map-style.

    Of each image that is wanted only its own bytes are read, and of some bands only theirs; the
    pickles are read opcode by opcode and never run.

    A part of a member cannot be compared with the member's CRC-32: damaged pixels are noticed in
    images that are alone in their file, as the DEM is, and elsewhere only by comparing whole
    members, as ``python -m fastload verify`` does. Structure (tar, zip, pickle, json) is checked
    while indexing. The index is kept beside the tars; a tar of another size or version is scanned
    again.

    Modalities of local patches share a view's crop, and so do those of whole cells (by a cell's
    nominal side). Where a patch lies in its cell is known to a kilometre alone; so beside patches,
    a modality of whole cells shows the same share of the cell as the crop is of the patch.

    Sentinel-2 images were collected as they were delivered, some from after 25 January 2022, when
    ESA added 1000 to the values: the two kinds may be mixed (by the published collection script;
    not checked on the files).

    Args:
        root: folder of splits or of tars, ``~`` being the user's home; or its URL or store.
        split: folder of tars in it, such as "ssl4eo_s_220k_aligned"; None: `root` itself, or the
            only folder of tars in it.
        modalities: joined by cell. The first is the reference for dates and for the views'
            timestamps. One name may be given as it is.
        recipe: views and radiometry; None yields raw pixels ``[T, C, H, W]``.
        statistics: "copernicus-fm" is what the published model is trained with: Sentinel-3 in the
            units of its scale factors, DEM in units of 10 km, Sentinel-5P as it is.
        patches: "any": a sample is a cell, its timestamps are all images of all of its local
            patches. "each": a sample is a local patch with its own dates, key ``CELL/PATCH``, as
            pairs of seasons need them; modalities of the whole cell go with each of its patches.
        align: "nearest": a further modality shows, at each timestamp of the first, its image
            nearest in time, of the same patch if it is of patches, so that views can share
            timestamps; one of a single image serves for any. Timestamps whose patch another
            modality lacks are left out. None: as they are stored.
        repeats: "drop": images that repeat an earlier one of their patch do not count. The
            published files fill up missing dates so. "keep": all are timestamps.
        bands: names of the bands to show, in this order, such as "B04", "VV", "Oa08"; for several
            modalities a mapping by modality. 'B4' is 'B04'.
        missing: "error" refuses cells or patches that some modality lacks, "drop" leaves them out
            and says so.
        bad_shards: "raise", or "skip" to leave out shards that cannot be indexed.
        columns: further columns to keep in `extras`: "cell"; "patch", of each timestamp or of the
            sample; "metadata", fields of the json that are not of a modality, as JSON.
        check_crc: compare images that are alone in their member with its CRC-32.
        seed: what `dataset[i]` draws its views with. A DataLoader has its own.
        executor: builds missing indexes; threads by default.
        progress: show a bar while indexing.

    Attributes:
        bad_shards: errors of the shards that were left out.

    Raises:
        FileNotFoundError: names a folder that is not there, and what is.
        DataError: names a damaged shard.
        ValueError: where an argument is out of range, recipe and data do not fit, cells or patches
            are missing, or a band is unknown.
    """

    def __init__(
        self,
        root: Place,
        split: str | None = None,
        modalities: Sequence[str] | str = ("s2_toa",),
        recipe: Recipe | None = None,
        statistics: What = "copernicus-fm",
        *,
        patches: Literal["any", "each"] = "any",
        align: Literal["nearest"] | None = "nearest",
        repeats: Literal["drop", "keep"] = "drop",
        bands: Asked = None,
        missing: Literal["error", "drop"] = "error",
        bad_shards: Literal["raise", "skip"] = "raise",
        columns: Sequence[str] = (),
        check_crc: bool = True,
        seed: int = 0,
        executor: Executor | None = None,
        progress: bool = True,
    ) -> None:
        names = [modalities] if isinstance(modalities, str) else list(modalities)
        _check(names, patches, repeats, bad_shards)
        check_options(missing, align)
        own = found_statistics(statistics)
        self.bad_shards: list[DataError] = []
        store = _tars(at(root), split)
        skipped = self.bad_shards if bad_shards == "skip" else None
        index = open_index(store, executor, progress, print, skipped, scan_cells)
        _tell(self.bad_shards, index, store.place)
        images = {name: _images(store, index, name, repeats == "keep") for name in names}
        samples = samples_of(index, images, patches, missing, align is not None)
        asked = by_modality(bands, names)
        grounds = _grounds(index, images)
        sources: dict[str, Source] = {
            name: TensorSource(
                name, store, index, images_of(images[name], samples.series[name]),
                columns_of(index, images[name], samples, name), check_crc,
                BANDS.get(name, ()), asked[name], grounds[name],
            )
            for name in names
        }  # fmt: skip
        extras = chosen(columns, sources, dict.fromkeys(names))
        super().__init__(sources, recipe, own, seed, extras=extras, same_ground=True)

    @classmethod
    def looks_right(cls, root: Store) -> bool:
        """Whether this layout lies at a place, see `fastload.datasets.known`."""
        return bool(_has_tars(root) or _splits(root))

    @classmethod
    def modalities_at(cls, root: Store, split: str) -> list[str]:
        """See `Dataset.modalities_at`: those of the first cell of the first shard."""
        store = _tars(root, split or None)
        [shard] = store.filenames(".tar", 1)
        size, first, out = store.list(shard)[shard].size, None, list[str]()
        for name, _, _ in members(store, shard, size, (PTH, JSON)):
            cell, _, rest = posixpath.basename(name).partition(".")
            first = first or cell
            if cell != first:
                break
            out += [rest.removesuffix(PTH)] if rest.endswith(PTH) else []
        return out


def _has_tars(place: Store) -> bool:
    return any(_TAR.fullmatch(name) for name in place.filenames(".tar", MOST))


def _splits(root: Store) -> list[str]:
    return [name for name in root.folders()[:MOST] if _has_tars(root.below(name))]


def _tars(root: Store, split: str | None) -> Store:
    """The store of the tars."""
    if split is not None:
        place = root.below(split)
        if place.filenames(".tar", 1):
            return place
        raise FileNotFoundError(f"{place.place}: expected shards named *.tar; {_holds(root)}")
    if root.filenames(".tar", 1):
        return root
    there = _splits(root) or root.folders_with(".tar")
    if len(there) > 1:
        raise ValueError(f"{root.place} holds several splits, say which: split is one of {there}")
    if not there:
        raise FileNotFoundError(f"{root.place}: expected shards named *.tar; {_holds(root)}")
    return root.below(there[0])


def _holds(root: Store) -> str:
    found = looks_like(root, _OWN)
    return found or f"{root.place} holds {', '.join(root.folders()[:MOST]) or 'no folders'}"


def _images(store: Store, index: Index, name: str, repeats: bool) -> CellImages:
    images = cell_images(index, name, repeats)
    if not len(images.row):
        there = sorted({n for layout in index.layouts for n in stacks_of(layout)})
        raise ValueError(f"{store.place}: no cell has {name!r}, expected some of {there}")
    return images


def _grounds(
    index: Index, images: Mapping[str, CellImages]
) -> dict[str, tuple[float, float] | None]:
    """Metres that an image of each modality covers; None where patches stand beside cells."""
    if len({some.has_patches for some in images.values()}) > 1:
        return dict.fromkeys(images)
    out: dict[str, tuple[float, float] | None] = {}
    for name, some in images.items():
        stacks = (stacks_of(layout).get(name) for layout in index.layouts)
        H, W = next(stack.shape[3:] for stack in stacks if stack)
        patch = PATCH_SPACING * H, PATCH_SPACING * W
        out[name] = patch if some.has_patches else (CELL, CELL)
    return out


def _check(names: list[str], patches: Any, repeats: Any, bad_shards: Any) -> None:
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"modalities must be a list of names, got {names!r}")
    if len(set(names)) < len(names):
        raise ValueError(f"modalities must differ, got {names}")
    for name, value, known in (
        ("patches", patches, ("any", "each")),
        ("repeats", repeats, ("drop", "keep")),
        ("bad_shards", bad_shards, ("raise", "skip")),
    ):
        if value not in known:
            raise ValueError(f"{name} must be '{known[0]}' or '{known[1]}', got {value!r}")


def _tell(bad: list[DataError], index: Index, place: str) -> None:
    if bad:
        warnings.warn(
            f"{len(bad)} shards in {place} cannot be indexed and are left out, such as {bad[0]} "
            "(`bad_shards` lists them)",
            stacklevel=3,
        )
    foreign = index.extra.get(FOREIGN, np.zeros(0, np.int64))
    if foreign.any():
        key = index.key[foreign.argmax()].decode()
        warnings.warn(
            f"{foreign.sum()} tensors in {np.count_nonzero(foreign)} cells of {place} are another "
            f"cell's, as their json says, such as in {key}; they are left out",
            stacklevel=3,
        )
