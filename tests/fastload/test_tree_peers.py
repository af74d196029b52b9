"""torchgeo's readers of SSL4EO-S12 v1.0 and SeCo over the same trees (test group `peers`)."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.archives import trees
from fastload.datasets.seco import SeCo
from fastload.datasets.ssl4eo_v10 import FOLDERS, SSL4EOS12V10

torchgeo = pytest.importorskip("torchgeo.datasets", reason="needs torchgeo (test group peers)")
SIZE = 264
"""The one size that torchgeo brings bands to."""


@pytest.mark.parametrize("modality", FOLDERS)
def test_v10_by_nearest_is_as_torchgeo_reads_it(tmp_path: Path, modality: str) -> None:
    """torchgeo takes the scenes in any order, and tells their dates."""
    split, T = FOLDERS[modality][0], 2
    trees.v10(tmp_path, [0, 1], [split], SIZE, T)
    theirs: Any = torchgeo.SSL4EOS12(str(tmp_path), split, T)
    ours = SSL4EOS12V10(tmp_path, modality, resampling="nearest", progress=False)
    for number in (0, 1):
        sample = theirs[number]
        order = np.argsort(sample["t"].numpy())
        C = len(trees.BANDS[split])
        pixels = sample["image"].numpy().reshape(T, C, SIZE, SIZE)[order]
        assert (pixels == ours.read(modality, number).astype(np.float32)).all()
        seconds = ours.all_times[number] / 1e9
        assert np.abs(np.sort(sample["t"].numpy()) - seconds).max() < 64  # they are float32
        np.testing.assert_allclose(sample["x"], ours.lon[number], atol=1e-4)
        np.testing.assert_allclose(sample["y"], ours.lat[number], atol=1e-4)


def test_seco_is_as_torchgeo_reads_it(tmp_path: Path) -> None:
    """To the bit where nothing is resampled. Pillow's bilinear, in floats, has the same geometry:
    only our rounding to uint8 is between."""
    trees.seco(tmp_path / "seasonal_contrast_100k", [0, 1], SIZE, 2)
    for bands in (SeCo.rgb, trees.S2L2A):
        theirs: Any = torchgeo.SeasonalContrastS2(str(tmp_path), "100k", 2, bands)
        ours = SeCo(tmp_path, bands=bands, progress=False)
        for number in (0, 1):
            C, mine = len(bands), ours.read("S2L2A", number)
            scenes = theirs[number]["image"].numpy().reshape(2, C, SIZE, SIZE)
            sums = [np.abs(scenes - scene).max() for scene in mine.astype(np.float32)]
            assert max(sums) > 2  # the two scenes differ
            either = [np.abs(scenes - mine[[a, 1 - a]]).max(axis=(0, 2, 3)) for a in (0, 1)]
            apart = min(either, key=lambda gap: float(gap.max()))
            fine = [c for c, band in enumerate(bands) if band not in trees.SIZES]
            assert (apart[fine] == 0).all()
            assert apart.max() <= 0.5 + 1e-4
