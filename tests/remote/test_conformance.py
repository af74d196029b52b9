"""The suite of stores over real servers."""

import itertools
import os
from pathlib import Path
from typing import Any

import pytest

from fastload.storage.remote.client import Client
from fastload.storage.remote.store import Remote
from fastload.storage.store import Store
from tests.conformance.store import StoreTests
from tests.remote.client import Bucket

pytestmark = pytest.mark.timeout(60)
_NUMBER = itertools.count()


class FarTests(StoreTests):
    sees_sizes = True

    def fail(
        self, monkeypatch: pytest.MonkeyPatch, store: Store, error: OSError, times: int
    ) -> None:
        count, send = itertools.count(), Client._send

        def failing(self: Client, *args: Any) -> Any:
            if next(count) < times:
                raise error
            return send(self, *args)

        monkeypatch.setattr(Client, "_send", failing)
        monkeypatch.setattr("fastload.storage.remote.retry.time.sleep", lambda _: None)


class TestNginx(FarTests):
    @pytest.fixture(autouse=True)
    def _place(self, served: tuple[Path, str]) -> None:
        self.served = served

    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Remote:
        name = f"store {next(_NUMBER)}"
        self.at = self.served[0] / name
        self.at.mkdir()
        for file, data in files.items():
            (self.at / file).write_bytes(data)
        return Remote(f"{self.served[1]}/{name}")

    def missing(self, tmp_path: Path) -> Remote:
        return Remote(f"{self.served[1]}/nowhere")

    def put(self, store: Store, name: str, data: bytes | None) -> None:
        path = self.at / name
        if data is None:
            path.unlink()
            return
        path.write_bytes(data)
        later = path.stat().st_mtime_ns + 2 * 10**9  # nginx's tags have seconds
        os.utime(path, ns=(later, later))


class TestNginxCached(TestNginx):
    """With a block cache, which changes nothing but how often the server is asked."""

    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Remote:
        store = super().make(tmp_path, files)
        url = f"{self.served[1]}/{self.at.name}"
        return Remote(url, cache=tmp_path / "blocks") if store else store


@pytest.mark.slow
class TestS3(FarTests):
    @pytest.fixture(autouse=True)
    def _place(self, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")

    def make(self, tmp_path: Path, files: dict[str, bytes]) -> Remote:
        self.bucket = Bucket(f"bucket-{next(_NUMBER)}")
        for name, data in files.items():
            self.bucket.put(f"in/{name}", data)
        return Remote(f"s3://{self.bucket.name}/in")

    def missing(self, tmp_path: Path) -> Remote:
        return Remote("s3://nowhere-to-be-found/in")

    def put(self, store: Store, name: str, data: bytes | None) -> None:
        self.bucket.put(f"in/{name}", data)
