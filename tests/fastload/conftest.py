import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastload import SSL4EOS12
from tests.fastload import shardmaker

REAL = Path(__file__).parents[3] / "shared" / "data" / "ssl4eo_v11_real"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, so that no test touches the user's."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FASTLOAD_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def real() -> Path:
    """The root of a few real samples."""
    if not REAL.is_dir():
        pytest.skip(f"needs real samples in {REAL}")
    return REAL


@pytest.fixture(params=["threads", "dali"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine that is installed."""
    if request.param == "dali" and importlib.util.find_spec("nvidia.dali") is None:
        pytest.skip("needs nvidia-dali")
    return str(request.param)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Six samples of S2L1C in two shards."""
    return shardmaker.write(tmp_path / "tiny")


Open = Callable[..., SSL4EOS12]


@pytest.fixture
def reopen() -> Open:
    """Opens a dataset without a bar, whose ``dataset[i]`` is that of epoch 0."""

    def opened(root: Path, *args: Any, **options: Any) -> SSL4EOS12:
        dataset = SSL4EOS12(root, *args, progress=False, **options)
        dataset.set_epoch(0)
        return dataset

    return opened
