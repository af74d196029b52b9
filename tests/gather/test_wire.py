"""Scenes behind real servers: what it takes, and what goes wrong on the way."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.gather.candidate import Candidate
from fastload.gather.patch import Patch
from fastload.gather.pixels.files import Files
from fastload.gather.pixels.read import read_patch
from fastload.storage.errors import DataError, StorageError
from tests.gather import archive as made
from tests.gather.archive import S2, Archive, Shot, Tile
from tests.remote import servers
from tests.remote.servers import Faulty

pytestmark = pytest.mark.timeout(60)
TILE = Tile("33UVP", 32633, 15.0, 48.0)
PLACE = Candidate(0, 0, 15.0, 48.0, ())
SHOT = Shot("2020-03-20T10:00:00", clouds=0.3)
VICTIM = "B02.tif"
QUICK: dict[str, Any] = {"backoff": 0.01}
REQUESTS = 13 + 10
"""Each file's header, and the blocks of those that are longer than what is read with it."""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return made.make(tmp_path_factory.mktemp("wire"), tiles=[TILE], shots=[SHOT], collections=[S2])


@pytest.fixture(scope="module")
def local(archive: Archive) -> Patch:
    return read(archive)


@pytest.fixture(scope="module")
def content(archive: Archive) -> dict[str, bytes]:
    paths = archive.folder.rglob("*.tif")
    return {path.relative_to(archive.folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture
def serve() -> Iterator[Any]:
    """Starts servers that misbehave."""
    running: list[Faulty] = []

    def start(files: dict[str, bytes], behave: Any = lambda *_: False) -> Faulty:
        running.append(Faulty(files, behave))
        return running[-1]

    yield start
    for server in running:
        server.close()


def read(archive: Archive, base: str | None = None, query: str = "", **options: Any) -> Patch:
    """The patch, its files below another address than they were made for."""
    scene = made.scene(archive.items[S2][0], SHOT)
    return read_patch(
        scene,
        PLACE,
        lambda href: href.replace(archive.base, base or archive.base) + query,
        files=Files(**(QUICK | options)),
    )


def assert_same(patch: Patch, local: Patch) -> None:
    assert (patch.bands == local.bands).all()
    assert (patch.cloud_mask == local.cloud_mask).all()  # type: ignore[union-attr]
    assert (patch.crs, patch.transform) == (local.crs, local.transform)


def test_nginx_gives_the_same_pixels(archive: Archive, local: Patch, tmp_path: Path) -> None:
    """By a header and the blocks of each file: what is counted is what the server counted."""
    with servers.nginx(archive.folder, tmp_path) as url:
        patch = read(archive, url, "?sv=1&sig=a%2Fb%3D")
        log = [line for line in (tmp_path / "access").read_text().splitlines() if "sig=" in line]
    assert_same(patch, local)
    assert patch.requests == len(log) == REQUESTS
    assert {line.split()[8] for line in log} == {"206"}
    assert all("sig=a%2Fb%3D" in line for line in log)
    assert patch.bytes_read == sum(int(line.split()[9]) for line in log)


def first(times: int, do: Any) -> Any:
    """Do something at the first requests for a band; later ones are answered well."""
    seen = iter(range(10**6))

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if VICTIM in path and next(seen) < times:
            do(server, wire, path, headers)
            return True
        return False

    return behave


def unwell(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.say(wire, 503, b"busy")


def reset(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    os.close(wire.detach())


def cut(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.serve(wire, path, headers, cut=10)


def shifted(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.serve(wire, path, headers, span="bytes 8-40/100000")


def empty(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    """An answer of the right range that holds nothing."""
    server.say(
        wire, 206, b"", "Content-Range: " + headers["range"].replace("=", " ") + "/10000\r\n"
    )


def page(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
    server.say(wire, 429, b"<html>too many requests</html>")


FAULTS = [unwell, reset, cut, shifted, empty, page]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_passes_changes_nothing(
    archive: Archive, content: dict[str, bytes], local: Patch, serve: Any, fault: Any
) -> None:
    for times in (1, 3):
        server = serve(content, first(times, fault))
        patch = read(archive, server.url, attempts=6)
        assert_same(patch, local)
        assert patch.requests == len(server.requests) == REQUESTS + times


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_stays_is_an_error_that_names_the_file(
    archive: Archive, content: dict[str, bytes], serve: Any, fault: Any
) -> None:
    """Neither pixels nor a candidate that does not fit, and no secret is told."""
    server = serve(content, first(10**6, fault))
    with pytest.raises(StorageError) as caught:
        read(archive, server.url, "?sig=hush", attempts=2)
    path = next(name for name in content if VICTIM in name)
    assert caught.value.shard == f"{server.url}/{path}"
    assert "asked 2 times" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_blocks_that_fail_after_the_header(
    archive: Archive, content: dict[str, bytes], local: Patch, serve: Any
) -> None:
    """The second request of a file is as safe as the first."""
    asked: list[str] = []

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if VICTIM not in path:
            return False
        asked.append(headers["range"])
        if len(asked) in (2, 3):
            cut(server, wire, path, headers)
            return True
        return False

    assert_same(read(archive, serve(content, behave).url), local)
    assert len(asked) == 4
    assert len(set(asked)) == 2


@pytest.mark.parametrize(("status", "kind"), [(404, DataError), (403, StorageError)])
def test_what_is_not_there_is_no_lack_of_pixels(
    archive: Archive, content: dict[str, bytes], serve: Any, status: int, kind: type[Exception]
) -> None:
    def gone(server: Faulty, wire: socket.socket, path: str, headers: Any) -> None:
        server.say(wire, status)

    server = serve(content, first(10**6, gone))
    with pytest.raises(kind, match=f"{VICTIM}.*{status}"):
        read(archive, server.url)
    assert server.asked_for(next(n for n in content if VICTIM in n)) == 1


def test_a_file_that_changes_between_header_and_blocks(
    archive: Archive, content: dict[str, bytes], serve: Any
) -> None:
    seen = iter(range(10))

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if VICTIM not in path:
            return False
        server.serve(wire, path, headers, tag=f"v{next(seen)}")
        return True

    with pytest.raises(DataError, match=f"{VICTIM}.*has changed since"):
        read(archive, serve(content, behave).url)


def test_a_server_without_ranges_is_named(
    archive: Archive, content: dict[str, bytes], serve: Any
) -> None:
    def whole(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        server.say(wire, 200, server.files[path.lstrip("/")])
        return True

    with pytest.raises(StorageError, match="knows no byte ranges"):
        read(archive, serve(content, whole).url)


def test_connections_are_kept_between_patches(
    archive: Archive, content: dict[str, bytes], local: Patch, serve: Any
) -> None:
    server, files = serve(content), Files(**QUICK, concurrency=4)
    scene = made.scene(archive.items[S2][0], SHOT)
    for _ in range(3):
        found = read_patch(
            scene, PLACE, lambda href: href.replace(archive.base, server.url), files=files
        )
        assert_same(found, local)
        assert found.requests == REQUESTS
    assert server.opened <= 4


def test_addresses() -> None:
    from fastload.gather.pixels.files import _parts

    assert _parts("https://a.b/c%20d/e.tif?x=1&y=%2F") == ("https://a.b/?x=1&y=%2F", "c d/e.tif")
    assert _parts("s3://bucket/c/e.tif") == ("s3://bucket", "c/e.tif")
    assert _parts("file:///c%20d/e.tif") == (Path("/c d"), "e.tif")
    assert _parts("/c/e.tif") == (Path("/c"), "e.tif")
    with pytest.raises(ValueError, match="'ftp://a/b': expected https, http, s3, gs or file"):
        Files().open("ftp://a/b", 1)


def test_many_threads_read_the_same(archive: Archive, local: Patch) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scene = made.scene(archive.items[S2][0], SHOT)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda _: read_patch(scene, PLACE), range(4)))
    for patch in found:
        assert_same(patch, local)
        assert patch.requests == REQUESTS
    assert np.unique([patch.bytes_read for patch in found]).size == 1
