"""What each kind of server lists, and where it wants to be asked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastload import Remote
from fastload.storage.errors import DataError, StorageError
from fastload.storage.remote.bucket import S3
from fastload.storage.remote.signature import Keys, query, signed
from fastload.storage.remote.web import NAMES
from fastload.storage.store import Local
from tests.remote import servers
from tests.remote.client import Bucket
from tests.remote.conftest import Make

pytestmark = pytest.mark.timeout(60)
TREE = {
    "train/S2L1C/a.tar": b"1" * 3000, "train/S2L1C/b c#%.tar": b"2" * 500,
    "train/S1GRD/a.tar": b"3" * 100, "notes.txt": b"4",
}  # fmt: skip


def check(store: Remote) -> None:
    """Names at each depth, with sizes, and bytes."""
    assert store.folders() == ["train"]
    assert store.filenames() == ["notes.txt"]
    inside = store.below("train")
    assert inside.folders() == ["S1GRD", "S2L1C"]
    deep = store.below("train/S2L1C")
    assert {n: s.size for n, s in deep.list(".tar").items()} == {"a.tar": 3000, "b c#%.tar": 500}
    assert inside.below("S2L1C").filenames(".tar", 1) == ["a.tar"]
    assert deep.content("b c#%.tar") == b"2" * 500
    assert list(store.walk(".tar")) == sorted(n for n in TREE if n.endswith(".tar"))
    assert store.below("nowhere").folders() == store.below("nowhere").filenames() == []
    with pytest.raises(FileNotFoundError, match="nowhere"):
        store.below("nowhere").list()


def write(folder: Path) -> Path:
    for name, data in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("tree"))


@pytest.mark.parametrize("lines", ["autoindex on;", "autoindex on; autoindex_format json;"])
def test_nginx_lists(tree: Path, tmp_path: Path, lines: str) -> None:
    with servers.nginx(tree, tmp_path, lines) as url:
        check(Remote(url))
        check(Remote(url + "/"))


def test_a_server_without_a_list_says_what_is_needed(tmp_path: Path) -> None:
    folder = write(tmp_path / "tree")
    (tmp_path / "nginx").mkdir()
    with servers.nginx(folder, tmp_path / "nginx", "") as url:
        with pytest.raises(StorageError, match="no list of the files, expected an index page"):
            Remote(url).list()
        (folder / NAMES).write_text(json.dumps([f"./{name}" for name in TREE]))
        check(Remote(url))
        (folder / NAMES).write_text("{}")
        with pytest.raises(StorageError, match="expected a JSON array of paths"):
            Remote(url).list()


PAGES = {
    "apache": '<title>Index of /x</title><a href="?C=N;O=D">Name</a><a href="/">Parent Directory'
    '</a><a href="a.tar">a.tar</a><a href="b%20c.tar">b c.tar</a><a href="in/">in/</a>',
    "python": "<title>Directory listing for /x/</title><li><a href='a.tar'>a.tar</a>"
    "<li><a href='b%20c.tar'>b c</a><li><a href='in/'>in/</a>",
    "absolute": '<h1>Index of /x</h1><a href="../">../</a><a href="/x/a.tar">a</a>'
    '<a href="/x/b%20c.tar">b</a><a href="/x/in/">in</a><a href="https://else.where/z.tar">z</a>',
}


@pytest.mark.parametrize("kind", PAGES)
def test_index_pages_of_other_servers(faulty: Make, kind: str) -> None:
    def behave(server: Any, wire: Any, path: str, headers: Any, _: int) -> bool:
        if path == "/x/":
            server.say(wire, 200, PAGES[kind].encode(), "Content-Type: text/html\r\n")
        return path == "/x/"

    store = Remote(f"{faulty({}, behave).url}/x")
    assert store.filenames() == ["a.tar", "b c.tar"]
    assert store.folders() == ["in"]


def test_a_page_that_is_no_index_is_refused(faulty: Make) -> None:
    def behave(server: Any, wire: Any, path: str, headers: Any, _: int) -> bool:
        if path == "/":
            server.say(wire, 200, b'<title>Welcome</title><a href="a.tar">', "")
        return path == "/"

    with pytest.raises(StorageError, match="no list of the files"):
        Remote(faulty({}, behave).url).list()


# S3


def test_a_signature_is_that_of_botocore() -> None:
    """The value is botocore's for the same request."""
    botocore = pytest.importorskip("botocore")
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    assert botocore
    url = f"https://b.s3.amazonaws.com/in/a%20b~.tar?{query({'prefix': 'a b/', 'x': 'é='})}"
    for token, more in ((None, {}), ("a token", {"x-amz-request-payer": "requester"})):
        request = AWSRequest("GET", url, headers=more)
        config = SimpleNamespace(s3={"payload_signing_enabled": False})
        request.context["client_config"] = config
        S3SigV4Auth(Credentials("key", "secret", token), "s3", "eu-west-1").add_auth(request)
        now = datetime.strptime(request.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
        keys, now = Keys("key", "secret", token), now.replace(tzinfo=UTC)
        own = signed("GET", url, keys, "eu-west-1", now, more)
        assert own["Authorization"].replace(",", ", ") == request.headers["Authorization"]
        assert more.items() <= own.items()


def test_a_bucket_of_an_unknown_region_is_asked_for_by_its_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As that of an archive, of which an address says no more."""
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert S3("b", "", None, None, True).ask("a").url == "https://b.s3.amazonaws.com/a"
    there = S3("b", "", None, "eu-central-1", True).ask("a").url
    assert there == "https://b.s3.eu-central-1.amazonaws.com/a"


def test_whoever_asks_pays_where_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As buckets of Sentinel-2 L1C want it."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.delenv("AWS_REQUEST_PAYER", raising=False)
    bucket = S3("b", "", None, None, None)
    assert "x-amz-request-payer" not in bucket.ask("a").headers
    monkeypatch.setenv("AWS_REQUEST_PAYER", "requester")
    assert bucket.ask("a").headers["x-amz-request-payer"] == "requester"


@pytest.fixture
def keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "user")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    return s3


@pytest.mark.slow
def test_s3_lists(keys: str) -> None:
    bucket = Bucket("tree")
    for name, data in TREE.items():
        bucket.put(f"some/{name}", data)
    check(Remote("s3://tree/some"))
    check(Remote("s3://tree/some/", anonymous=True))


@pytest.mark.slow
def test_s3_lists_page_by_page(keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastload.storage.remote.bucket.Bucket.most_keys", 2)
    bucket = Bucket("pages")
    names = [f"in/{i}.tar" for i in range(3)] + [f"in/{i}/x.tar" for i in range(3, 6)]
    for name in names:
        bucket.put(name, b"x")
    store = Remote("s3://pages/in")
    assert (store.filenames(), store.folders()) == (["0.tar", "1.tar", "2.tar"], ["3", "4", "5"])
    assert store.counts()["requests"] == 3
    assert list(store.walk()) == [name.removeprefix("in/") for name in names]


@pytest.mark.long
def test_s3_lists_more_than_a_thousand(keys: str) -> None:
    bucket = Bucket("many")
    names = [f"{i:04d}.tar" for i in range(1105)]
    for name in names:
        bucket.put(f"in/{name}", b"x")
    store = Remote("s3://many/in")
    assert list(store.list(".tar")) == names
    assert store.counts()["requests"] == 2
    assert list(store.walk()) == names
    with pytest.raises(FileNotFoundError, match="no bucket"):
        Remote("s3://nowhere-at-all").list()


def test_keys_come_from_the_profile_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faulty: Make
) -> None:
    (tmp_path / "keys").write_text("[other]\naws_access_key_id=K\naws_secret_access_key=S\n")
    (tmp_path / "config").write_text("[profile other]\nregion=eu-west-7\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_PROFILE", "other")
    server = faulty({"bucket/a.tar": b"abc"})
    assert Remote("s3://bucket", endpoint=server.url).bytes("a.tar", 0, 3) == b"abc"
    assert "Credential=K/" in server.requests[-1][1]["authorization"]
    assert "/eu-west-7/s3/" in server.requests[-1][1]["authorization"]
    Remote("s3://bucket", endpoint=server.url, anonymous=True).bytes("a.tar", 0, 3)
    assert "authorization" not in server.requests[-1][1]


def test_a_bucket_elsewhere_is_told_of(faulty: Make) -> None:
    def behave(server: Any, wire: Any, path: str, headers: Any, _: int) -> bool:
        server.say(wire, 301, b"", "x-amz-bucket-region: eu-west-3\r\n")
        return True

    store = Remote("s3://bucket", endpoint=faulty({}, behave).url, anonymous=True)
    with pytest.raises(StorageError, match="give region='eu-west-3'"):
        store.list()


# Google Cloud Storage


def test_google_storage_is_asked_with_a_token(
    faulty: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (
        b'<ListBucketResult xmlns="http://doc.s3.amazonaws.com/2006-03-01"><IsTruncated>false'
        b'</IsTruncated><Contents><Key>in/a.tar</Key><Size>3</Size><ETag>"t"</ETag></Contents>'
        b"<CommonPrefixes><Prefix>in/deep/</Prefix></CommonPrefixes></ListBucketResult>"
    )

    def behave(server: Any, wire: Any, path: str, headers: Any, _: int) -> bool:
        if path.startswith("/bucket/?"):
            server.say(wire, 200, page)
        return path.startswith("/bucket/?")

    server = faulty({"bucket/in/a.tar": b"abc"}, behave)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("GOOGLE_OAUTH_ACCESS_TOKEN", "token")
    store = Remote("gs://bucket/in")
    assert store.folders() == ["deep"]
    assert store.list()["a.tar"].size == 3
    assert server.requests[-1][1]["authorization"] == "Bearer token"
    monkeypatch.delenv("GOOGLE_OAUTH_ACCESS_TOKEN")
    assert Remote("gs://bucket/in").bytes("a.tar", 0, 3) == b"abc"  # nobody's account
    assert "authorization" not in server.requests[-1][1]


# The hub


def test_the_hub_lists_by_pages(
    hub: Callable[..., servers.Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = TREE | {f"train/many/{i:02d}.tar": b"x" for i in range(10)}
    server = hub(files)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    store = Remote("hf://datasets/org/name")
    assert store.below("train/many").filenames() == [f"{i:02d}.tar" for i in range(10)]
    for name in list(server.files):
        if "many" in name:
            del server.files[name]
    check(Remote("hf://datasets/org/name@main"))


def test_the_hub_sends_on_and_signs_anew(
    hub: Callable[..., servers.Hub], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hub(dict(TREE))
    server.token = "Bearer mine"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    with pytest.raises(StorageError, match="no access"):
        Remote("hf://datasets/org/name").list()
    monkeypatch.setenv("HF_TOKEN", "mine")
    store = Remote("hf://datasets/org/name/train/S2L1C")
    stat = store.list(".tar")["a.tar"]
    assert stat.size == 3000
    for i in range(3):
        assert store.bytes("a.tar", 100 * i, 10) == b"1" * 10
    resolved = [path for path, _ in server.requests if "/resolve/" in path]
    assert len(resolved) == 1
    server.signature = "second"  # the first has expired
    assert store.bytes("a.tar", 500, 10) == b"1" * 10
    assert all(token is None for path, token in server.requests if path.startswith("/cdn/"))
    server.files["train/S2L1C/a.tar"] = b"5" * 3000
    server.signature = "third"
    with pytest.raises(DataError, match="has changed since"):
        store.bytes("a.tar", 500, 10)


def test_the_hubs_token_lies_in_a_file(
    hub: Callable[..., servers.Hub], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = hub(dict(TREE))
    server.token = "Bearer kept"
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    (cache / "token").write_text("kept\n")
    assert Remote("hf://datasets/org/name").folders() == ["train"]
    assert Remote("hf://datasets/org/name").digest() != Local(cache).digest()
