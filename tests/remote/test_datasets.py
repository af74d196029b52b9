"""A data set behind a URL: the same batches as from the folder that is served."""

import itertools
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastload
from fastload import SSL4EOS12, DataError, DataLoader, Radiometry, Recipe, Remote, View
from fastload.storage.errors import StorageError
from fastload.storage.index import open_index
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.remote.conftest import Make
from tests.remote.servers import Faulty

pytestmark = pytest.mark.timeout(120)
NAMES = ["S2L1C", "S1GRD"]
RECIPE = Recipe((View(size=16),) * 2, Radiometry.identity())
_NUMBER = itertools.count()


@pytest.fixture
def data(served: tuple[Path, str]) -> tuple[Path, str]:
    """A data set's folder, without indexes, and its URL."""
    name = f"data{next(_NUMBER)}"
    root = make.write(served[0] / name, NAMES)
    return root, f"{served[1]}/{name}"


def local(root: Path, tmp_path: Path, **options: Any) -> SSL4EOS12:
    """The same from a copy, so that no index lies beside the data that is served."""
    shutil.copytree(root, tmp_path / "copy", dirs_exist_ok=True)
    return SSL4EOS12(tmp_path / "copy", modalities=NAMES, progress=False, **options)


def far(url: Any, **options: Any) -> SSL4EOS12:
    return SSL4EOS12(url, modalities=NAMES, progress=False, **options)


def text(batch: Any) -> str:
    return str(batch)


@pytest.mark.parametrize("engine", ["threads", "dali"])
@pytest.mark.parametrize("workers", [0, 3])
def test_batches_are_those_of_the_folder(
    data: tuple[Path, str], tmp_path: Path, engine: str, workers: int
) -> None:
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    for recipe in (None, RECIPE):
        pairs = [local(data[0], tmp_path, recipe=recipe), far(data[1], recipe=recipe)]
        for dataset in pairs:
            dataset.set_epoch(0)
        assert text(pairs[0][3]) == text(pairs[1][3])
        loaders = [DataLoader(d, 2, shuffle=True, shuffle_window=3, engine=engine,
                              num_workers=workers) for d in pairs]  # fmt: skip
        for a, b in zip(*loaders, strict=True):
            assert a.keys() == b.keys()
            for name in a:
                assert text(a[name]) == text(b[name])
        assert loaders[1].stats()["errors"] == loaders[0].stats()["errors"]


def test_fastload_opens_a_url(data: tuple[Path, str]) -> None:
    dataset = fastload.open(data[1], progress=False)
    assert isinstance(dataset, SSL4EOS12)
    assert len(dataset) == 6
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        fastload.open(f"{data[1]}/nowhere")


def scans(store: Remote) -> tuple[Any, list[str]]:
    said: list[str] = []
    return open_index(store, say=said.append), said


def test_an_index_is_kept_and_only_what_changed_is_scanned_again(data: tuple[Path, str]) -> None:
    url, folder = f"{data[1]}/train/S2L1C", data[0] / "train" / "S2L1C"
    assert "indexing 2 of 2" in scans(Remote(url))[1][0]
    store = Remote(url)
    assert scans(store)[1] == []
    assert store.counts()["requests"] <= 2 + 2  # names, and the state of each file
    make.write_tar(folder / "ssl4eos12_shard_000002.tar", {"0000009": make.sample(9)})
    index, said = scans(Remote(url))
    assert "indexing 1 of 2" in said[0]
    assert len(index) == 4


def test_an_index_that_was_copied_along_is_used(data: tuple[Path, str]) -> None:
    url, folder = f"{data[1]}/train/S2L1C", data[0] / "train" / "S2L1C"
    built = open_index(Local(folder))
    store = Remote(url)
    index, said = scans(store)
    assert said == []
    assert (index.key == built.key).all()
    assert (index.chunks == built.chunks).all()
    assert [s.version for s in index.shards] != [s.version for s in built.shards]
    assert scans(Remote(url))[1] == []  # it is this machine's now
    make.write_tar(folder / "ssl4eos12_shard_000002.tar", {"0000009": make.sample(9)})
    assert "indexing 1 of 2" in scans(Remote(url))[1][0]


def test_an_index_of_other_files_is_not_believed(data: tuple[Path, str]) -> None:
    """Same names and sizes, other pixels."""
    folder = data[0] / "train" / "S2L1C"
    open_index(Local(folder))
    for number, path in enumerate(sorted(folder.glob("*.tar"))):
        size = path.stat().st_size
        keys = make.KEYS[3 * number : 3 * number + 3]
        make.write_tar(path, {k: make.sample(int(k) + 50) for k in keys})
        new = path.read_bytes()[:size]
        path.write_bytes(new + bytes(size - len(new)))
    with pytest.warns(UserWarning, match="is not taken for the index"):
        _, said = scans(Remote(f"{data[1]}/train/S2L1C"))
    assert "indexing 2 of 2" in said[0]


def test_an_index_that_is_damaged_is_not_believed(data: tuple[Path, str]) -> None:
    folder = data[0] / "train" / "S2L1C"
    (folder / "fastload.index").write_bytes(b"no index at all")
    with pytest.warns(UserWarning, match="is not taken for the index"):
        index, _ = scans(Remote(f"{data[1]}/train/S2L1C"))
    assert len(index) == 6


def test_a_tar_is_scanned_in_about_a_request_a_sample(data: tuple[Path, str]) -> None:
    """The end of a member and the next header are one."""
    folder = data[0] / "train" / "many"
    large = {f"{i:07d}": make.zipped(
        make.group(make.pixels(i, (4, 3, 96, 96)), number=i)) for i in range(12)}  # fmt: skip
    make.write_tar(folder / "a.tar", large)
    assert min(len(content) for content in large.values()) > 40_000  # one read spans no two
    store = Remote(f"{data[1]}/train/many")
    assert len(open_index(store)) == 12
    assert store.counts()["requests"] <= 12 + 7


def serving(root: Path, behave: Any, faulty: Make) -> Faulty:
    files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*.tar")}
    names = str(sorted(files)).replace("'", '"').encode()
    return faulty(files | {"fastload.files.json": names}, behave)


def test_a_storage_that_fails_is_counted_as_such(
    data: tuple[Path, str], faulty: Make, tmp_path: Path
) -> None:
    """One shard cannot be had any more: its samples are replaced, and counted as the storage's."""
    broken = [False]

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if broken[0] and path.startswith("/train/S2L1C/ssl4eos12_shard_000002"):
            server.say(wire, 503)
            return True
        return False

    server = serving(data[0], behave, faulty)
    store = Remote(server.url, attempts=2, backoff=0.01)
    dataset = SSL4EOS12(store, recipe=RECIPE, progress=False)
    broken[0] = True
    loader = DataLoader(dataset, 3, num_workers=2, on_error="replace")
    batches = list(loader)
    assert len(batches) == 2
    assert loader.stats()["storage_errors"] >= 3
    with pytest.raises(StorageError, match=r"shard_000002\.tar.*503"):
        list(DataLoader(dataset, 3, num_workers=2))


def test_a_shard_that_changes_while_it_is_read_is_the_datas_fault(
    data: tuple[Path, str], faulty: Make
) -> None:
    server = serving(data[0], lambda *_: False, faulty)
    dataset = SSL4EOS12(Remote(server.url), progress=False)
    for name in list(server.files):
        if name.endswith("000001.tar"):
            server.files[name] = server.files[name][:-1] + b"\1"
    with pytest.raises(DataError, match="has changed since") as caught:
        list(DataLoader(dataset, 2, num_workers=2))
    assert not isinstance(caught.value, StorageError)


def test_a_stalled_server_hangs_nothing(data: tuple[Path, str], faulty: Make) -> None:
    stalled = [False]

    def behave(server: Faulty, wire: socket.socket, path: str, headers: Any, _: int) -> bool:
        if stalled[0]:
            server.stall(20)
        return stalled[0]

    server = serving(data[0], behave, faulty)
    store = Remote(server.url, timeout=0.3, attempts=2, backoff=0.01)
    dataset = SSL4EOS12(store, progress=False)
    stalled[0] = True
    with pytest.raises(StorageError, match="did not answer in time; asked 2 times"):
        next(iter(DataLoader(dataset, 2, num_workers=2)))


def test_a_cache_serves_the_second_epoch(data: tuple[Path, str], tmp_path: Path) -> None:
    store = Remote(data[1], cache=tmp_path / "blocks")
    dataset = far(store, recipe=None)
    loader = DataLoader(dataset, 3, shuffle=True, num_workers=2)
    first = {k: v for batch in loader for k, v in zip(batch["key"], batch["S2L1C"], strict=True)}
    before = dataset.sources["S2L1C"].store.counts()["requests"]  # type: ignore[attr-defined]
    for batch in loader:
        for key, pixels in zip(batch["key"], batch["S2L1C"], strict=True):
            assert np.array_equal(pixels, first[key])
    after = dataset.sources["S2L1C"].store.counts()  # type: ignore[attr-defined]
    assert after["requests"] == before
    assert after["hits"] >= 6
