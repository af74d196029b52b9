"""Bands without an axis of dates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import SSL4EOS12, DataLoader
from tests.fastload import shardmaker as make
from tests.fastload.test_arrays import with_more
from tests.fastload.test_formats import chunks

SHAPE = (make.C, make.H, make.W)
GRIDS = {"whole": SHAPE, "by band": (1, make.H, make.W), "uneven": (2, 7, 10), "large": (5, 40, 40)}


def flat(number: int, **options: Any) -> dict[str, bytes]:
    """A group of ``bands [C, H, W]`` with a date."""
    options = {"chunks": SHAPE, **options}
    content = make.group(make.pixels(f"flat {number}", SHAPE), number=number, **options)
    return with_more(content, band=np.array(["B04", "B03", "B02"]), time=make.dates(number, 1)[0])


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("order", ["C", "F"])
def test_bands_without_dates_have_one(tmp_path: Path, grid: tuple[int, ...], order: str) -> None:
    path = make.shard(tmp_path)
    contents = {str(i): make.zipped(flat(i, chunks=grid, order=order)) for i in range(3)}
    make.write_tar(path, contents)
    ds = SSL4EOS12(tmp_path, progress=False)
    m = ds.modalities["S2L1C"]
    assert (m.shape, m.band_names) == ((1, *SHAPE), ("B04", "B03", "B02"))
    for i in range(3):
        assert make.same(ds.read("S2L1C", i), make.read_by_zarr(path, str(i))[None])
        np.testing.assert_array_equal(ds.times(i), make.dates(i, 1))
    few = SSL4EOS12(tmp_path, bands=["B02"], progress=False)
    assert make.same(few.read("S2L1C", 1), make.read_by_zarr(path, "1")[None, 2:])


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_engines_read_them(tmp_path: Path, engine: Any) -> None:
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    contents = {str(i): make.zipped(flat(i)) for i in range(3)}
    contents["3"] = make.zipped(make.group(make.pixels("dated", (1, *SHAPE))))
    make.write_tar(make.shard(tmp_path), contents)
    ds = SSL4EOS12(tmp_path, progress=False)
    (batch,) = DataLoader(ds, batch_size=4, engine=engine, num_workers=2)
    for i in range(4):
        expected = make.pixels(*((f"flat {i}", SHAPE) if i < 3 else ("dated", (1, *SHAPE))))
        assert make.same(batch["S2L1C"][i].numpy(), expected.reshape(1, *SHAPE))


def test_their_chunks_are_frames(tmp_path: Path) -> None:
    """A GPU can decode them."""
    make.write_tar(make.shard(tmp_path), {"0": make.zipped(flat(0))})
    (row,) = chunks(SSL4EOS12(tmp_path, progress=False), 0)
    assert row["codec"] == 1


def test_their_masks_have_two_axes(tmp_path: Path) -> None:
    mask = np.zeros(SHAPE[1:], np.uint8)
    mask[:6] = 4
    content = with_more(flat(0), cloud_mask=(mask, {"chunks": (10, make.W)}), other=mask[:5])
    make.write_tar(make.shard(tmp_path), {"0": make.zipped(content)})
    ds = SSL4EOS12(tmp_path, modalities=["S2L1C", "S2L1C/cloud_mask"], progress=False)
    assert make.same(ds.read("S2L1C/cloud_mask", 0), mask[None, None])
    assert ds.cloud(0).tolist() == [0.25]


def test_bands_of_two_axes_are_refused(tmp_path: Path) -> None:
    content = flat(0)
    header = json.loads(content["bands/.zarray"]) | {"shape": [24, 24], "chunks": [24, 24]}
    content[".zmetadata"] = json.dumps({"metadata": {"bands/.zarray": header}}).encode()
    make.write_tar(make.shard(tmp_path), {"0": make.zipped(content)})
    with pytest.raises(RuntimeError, match=r"must be numbers \[T, C, H, W\], or \[C, H, W\]"):
        SSL4EOS12(tmp_path, progress=False)
