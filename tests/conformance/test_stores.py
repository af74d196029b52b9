"""The stores of the package."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

import fastload.storage.store as store_module
from fastload.storage.errors import DataError
from fastload.storage.store import Local, Store
from tests.conformance.store import Asked, StoreTests, content

pytestmark = pytest.mark.timeout(60)


class TestLocal(StoreTests):
    sees_sizes = True

    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Local:
        folder = tmp_path / "shards"
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        return Local(folder)

    def missing(self, tmp_path: Path) -> Local:
        return Local(tmp_path / "nowhere")

    def put(self, store: Store, name: str, data: bytes | None) -> None:
        assert store.folder is not None
        path = store.folder / name
        if data is None:
            path.unlink()
            return
        path.write_bytes(data)
        later = path.stat().st_mtime_ns + 10**9  # than what a coarse clock tells apart
        os.utime(path, ns=(later, later))

    def fail(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, error: OSError, times: int
    ) -> None:
        """Reads of one range fail; those of many leave all undone, as after an error."""
        monkeypatch.setattr(store_module, "read_ranges", lambda *_: None)
        count, read = itertools.count(), store_module._read_into

        def failing(fd: int, out: Any, offset: int) -> int:
            if next(count) < times:
                raise error
            return read(fd, out, offset)

        monkeypatch.setattr(store_module, "_read_into", failing)

    def test_a_folder_by_the_name_of_a_file_is_not_passed_over(self, store: Store) -> None:
        """It is listed, so that whoever reads it hears of it."""
        assert store.folder is not None
        (store.folder / "folder.tar").mkdir()
        assert "folder.tar" in store.list(".tar")
        with pytest.raises(DataError, match=r"folder\.tar.*cannot be read"):
            store.bytes("folder.tar", 0, 10)

    def test_more_files_than_handles_are_read(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The budget of handles bounds what is open, not what is read."""
        monkeypatch.setattr("fastload.storage.handles.budget", lambda: 16)
        files = {f"{i:02d}.tar": content(i, 100 + i) for i in range(50)}
        store = self.make(tmp_path, files)
        asked = [(name, i, 100) for name in files for i in (0, 1) if len(files[name]) >= i + 100]
        indexed = {name: len(data) for name, data in files.items()}
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else None
        for _ in range(2):
            many = Asked(asked, indexed)
            assert many.read(store) == {}
            for i, (name, offset, size) in enumerate(asked):
                assert many.got(i) == files[name][offset : offset + size]
        if before is not None:
            assert len(os.listdir("/proc/self/fd")) <= before + 16

    def test_a_file_that_may_not_be_read_is_the_datas_fault(self, store: Store) -> None:
        """A folder in a file's place: an error of the data, by name."""
        assert store.folder is not None
        (store.folder / "folder.tar").mkdir()
        with pytest.raises(DataError, match=r"folder\.tar"):
            store.bytes("folder.tar", 0, 10)
