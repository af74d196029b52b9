from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.remote import servers

Make = Callable[..., servers.Faulty]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, and no credentials but its own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("FASTLOAD_CACHE", str(folder))
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("HF_HOME", str(folder))
    for name in ("HF_TOKEN", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return folder


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which nginx serves it."""
    folder = tmp_path_factory.mktemp("served")
    with servers.nginx(folder, tmp_path_factory.mktemp("nginx")) as url:
        yield folder, url


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with servers.s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def faulty() -> Iterator[Make]:
    """Makes servers that misbehave."""
    made: list[servers.Faulty] = []

    def make(files: dict[str, bytes], behave: Any = lambda *_: False) -> servers.Faulty:
        made.append(servers.Faulty(files, behave))
        return made[-1]

    yield make
    for server in made:
        server.close()


@pytest.fixture
def hub() -> Iterator[Callable[[dict[str, bytes]], servers.Hub]]:
    """Makes hubs."""
    made: list[servers.Hub] = []

    def make(files: dict[str, bytes]) -> servers.Hub:
        made.append(servers.Hub(files))
        return made[-1]

    yield make
    for server in made:
        server.close()
