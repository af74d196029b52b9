"""The source of raw tensors: every variant of how images may lie in their files."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload.datasets.copernicus import CopernicusPretrain
from fastload.datasets.source import OTHER, ChunkedSource
from fastload.datasets.tensors.tensor_source import TensorSource
from fastload.profile import Stages
from fastload.storage.cell_scan import PART
from tests.conformance.source import ChunkedSourceTests, Damaged, Pixels, same
from tests.fastload import cellmaker

pytestmark = pytest.mark.timeout(60)
CELLS = tuple(cellmaker.Cell(f"{i:07d}", 1, 4) for i in (310, 11, 722))
BAD = 1


class TestTensors(ChunkedSourceTests):
    """Sentinel-2 as it is published: an image is a part of its member."""

    frames = OTHER
    name = "s2_toa"
    bands: tuple[str, ...] | None = None

    def save(self, key: str, name: str, value: torch.Tensor) -> bytes:
        return cellmaker.pth(value)

    def open(self, root: Path) -> TensorSource:
        found = CopernicusPretrain(root, None, self.name, bands=self.bands, progress=False)
        source = found.sources[self.name]
        assert isinstance(source, TensorSource)
        return source

    def write(self, root: Path) -> Path:
        cells = [cell._replace(modalities=(self.name,)) for cell in CELLS]
        return cellmaker.write(root, cells, 1, save=self.save)

    def make(self, tmp_path: Path) -> tuple[TensorSource, Pixels]:
        root = self.write(tmp_path)
        cells = cellmaker.loaded(root)
        pixels = [cellmaker.numpy(cells[cell.key][self.name]) for cell in CELLS]
        pixels = [p.reshape(-1, *cellmaker.SIZES[self.name]) for p in pixels]
        return self.open(root), self.shown(np.stack(pixels))

    def shown(self, pixels: Pixels) -> Pixels:
        """Those of the bands that are shown."""
        return pixels

    def damaged(self, tmp_path: Path) -> Damaged:
        """A shard that was cut off after it was opened."""
        source = self.open(self.write(tmp_path))
        path = tmp_path / source.files[BAD]
        path.write_bytes(path.read_bytes()[:-2000])
        return Damaged(source, BAD, 0)

    def test_bytes_that_do_not_match_their_checksum_are_found(self, source: ChunkedSource) -> None:
        """A zip's checksum tells nothing of a part: values are taken as they are, and it says so
        in each row."""
        T = source.modality.timestamps
        rows = source.chunks(np.array([1]), np.ones((1, T), bool)).rows
        assert (rows["method"] == PART).all()
        assert not rows["crc"].any()
        buffer = np.empty(int(rows["stored"].sum()), np.uint8)
        data = source.fetch(1, rows, buffer, Stages())
        before, after = (np.empty(source.modality.shape, source.modality.dtype) for _ in range(2))
        source.decode(1, rows, data, range(T), before, Stages())
        assert data[0] is not None
        data[0][1] ^= 0x40
        source.decode(1, rows, data, range(T), after, Stages())
        assert np.count_nonzero(before != after) == 1


class TestWholeMember(TestTensors):
    """An image that is all of its member: damage is found."""

    name = "dem"

    def damaged(self, tmp_path: Path) -> Damaged:
        source = self.open(self.write(tmp_path))
        row = source.chunks(np.array([BAD]), np.ones((1, 1), bool)).rows[0]
        path = tmp_path / source.files[row["file"]]
        data = bytearray(path.read_bytes())
        data[row["offset"] + row["stored"] // 2] ^= 0x10
        path.write_bytes(data)
        return Damaged(source, BAD, 0)

    def test_bytes_that_do_not_match_their_checksum_are_found(self, source: ChunkedSource) -> None:
        ChunkedSourceTests.test_bytes_that_do_not_match_their_checksum_are_found(self, source)


class TestBands(TestTensors):
    """Some bands in another order: only their bytes are read, runs of neighbours together; the
    highest byte first in some of the cells."""

    bands = ("B04", "B03", "B8A", "B01")

    def save(self, key: str, name: str, value: torch.Tensor) -> bytes:
        return cellmaker.pth(value) if key == "0000011" else cellmaker.big_endian(value)

    def shown(self, pixels: Pixels) -> Pixels:
        return pixels[:, :, [3, 2, 8, 0]]

    def test_only_their_bytes_are_read(self, source: ChunkedSource) -> None:
        rows = self.all_rows(source)
        assert source.chunks_a_timestamp == 3
        assert rows["stored"].sum() == len(source) * 4 * source.modality.plane_bytes


KINDS = {
    "big-endian": cellmaker.big_endian,
    "bfloat16, shown as float32": lambda value: cellmaker.pth(value.bfloat16()),
    "float16": lambda value: cellmaker.pth(value.half()),
    "uint8": lambda value: cellmaker.pth(value.to(torch.uint8)),
    "uint16": lambda value: cellmaker.pth(value.to(torch.uint16)),
    "int32": lambda value: cellmaker.pth(value.to(torch.int32)),
    "float64, big-endian": lambda value: cellmaker.big_endian(value.double()),
    "wants a gradient": lambda value: cellmaker.pth(value.float().requires_grad_()),
    "a parameter": lambda value: cellmaker.pth(torch.nn.Parameter(value.float())),
    "without checksums": lambda value: cellmaker.without_checksums(value),
    "more in the storage": lambda value: cellmaker.pth(torch.cat([value, value])[1:2]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_that_torch_loads(tmp_path: Path, kind: str) -> None:
    """Whatever dtype they have, and however they were saved."""
    cells = [cell._replace(modalities=("s2_toa",)) for cell in CELLS]
    cellmaker.write(tmp_path, cells, 2, save=lambda key, name, value: KINDS[kind](value))
    expected = cellmaker.loaded(tmp_path)
    data = CopernicusPretrain(tmp_path, progress=False)
    for i, cell in enumerate(CELLS):
        same(data.read("s2_toa", i), cellmaker.numpy(expected[cell.key]["s2_toa"])[0])


def views(value: torch.Tensor, kind: str) -> torch.Tensor:
    """The same values with other strides."""
    if kind == "bands last":
        return value.movedim(-3, -1).contiguous().movedim(-1, -3)
    if kind == "dates inside":
        return value.movedim(-4, -1).contiguous().movedim(-1, -4) if value.ndim > 3 else value
    if kind == "turned":
        return value.mT.contiguous().mT
    wide = torch.cat([value[..., :1], value, value], dim=-1)
    return wide[..., 1 : 1 + value.shape[-1]]


@pytest.mark.parametrize("kind", ["bands last", "dates inside", "turned", "window"])
@pytest.mark.parametrize("bands", [None, ("B8A", "B02", "B03")])
def test_views_are_gathered(tmp_path: Path, kind: str, bands: Any) -> None:
    """Tensors that are not contiguous, beside others that are, and of a part of their storage."""

    def save(key: str, name: str, value: torch.Tensor) -> bytes:
        return cellmaker.pth(views(value, kind) if key != "0000011" else value)

    some = [cell._replace(modalities=("s2_toa",)) for cell in CELLS]
    cellmaker.write(tmp_path, some, 2, save=save)
    cells = cellmaker.loaded(tmp_path)
    data = CopernicusPretrain(tmp_path, None, ["s2_toa"], bands=bands, progress=False)
    for i, cell in enumerate(CELLS):
        expected = cells[cell.key]["s2_toa"][0].numpy()
        expected = expected if bands is None else expected[:, [8, 1, 2]]
        same(data.read("s2_toa", i), np.ascontiguousarray(expected))
        same(data.read("s2_toa", i, [2]), np.ascontiguousarray(expected[2:3]))
