from pathlib import Path

import pytest

from benchmarks.data import Shards
from fastload.synth import synth

LOCATIONS = 6


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    root = tmp_path_factory.mktemp("shards")
    synth(root, LOCATIONS, modalities=["S2L1C"], size=96, timestamps=3, samples_per_shard=3)
    return Shards.find(root, "train", "S2L1C", "made")


@pytest.fixture(scope="session")
def real_shards() -> Shards:
    root = Path(__file__).parents[3] / "shared/data/ssl4eo_v11_real"
    if not root.exists():
        pytest.skip(f"needs the real shards of {root}")
    return Shards.find(root, "train", "S2L2A", "real")
