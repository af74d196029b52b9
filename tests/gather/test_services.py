"""Descriptions of services, and signatures."""

import datetime
import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest

from fastload import Remote
from fastload.gather.search.items import scene_of
from fastload.gather.search.services import MODALITIES, SHIPPED, Service, service, signing
from tests.gather.stac import Api, Item, s2

BLOB = "https://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/10/T/ET/B02.tif"
GOOD: Item = {
    "url": "https://stac.example/v1",
    "modalities": {"S1GRD": {"collection": "mine", "bands": {"vv": "v", "vh": "h"}}},
}


def test_the_shipped_services_have_what_they_say() -> None:
    assert set(SHIPPED) == {"copernicus", "earth-search", "earth-search-c1", "planetary-computer"}
    for name in SHIPPED:
        made = service(name)
        assert made.name == name
        assert made == pickle.loads(pickle.dumps(made))
        for url in ("https://host/a", "s3://bucket/a"):
            assert Remote(url, **made.options)  # type: ignore[arg-type]
        for modality, served in made.modalities.items():
            assert set(served.bands) == set(MODALITIES[modality])
            assert served.dated == (modality != "DEM")
    for name in ("earth-search", "earth-search-c1", "planetary-computer", "copernicus"):
        assert service(name).served("S2L2A").collection.endswith("l2a")
    assert service("planetary-computer").served("S1RTC").bands == {"vv": "vv", "vh": "vh"}


@pytest.mark.parametrize(
    ("name", "modality", "message"),
    [
        ("earth-search", "S2L1C", "whoever reads it pays"),
        ("earth-search", "S1GRD", "whoever reads it pays"),
        ("planetary-computer", "S1GRD", "in the sensor's own geometry, on no map grid.*S1RTC"),
        ("copernicus", "S1GRD", "in the sensor's own geometry"),
        ("copernicus", "S1RTC", "copernicus has no S1RTC, expected one of S2L2A, S2L1C, S1GRD"),
        ("planetary-computer", "S2L1C", "planetary-computer has no S2L1C"),
    ],
)
def test_what_cannot_be_read_is_refused(name: str, modality: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        service(name).served(modality)


def test_a_description_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(GOOD))
    with pytest.raises(ValueError, match="mine has S1GRD in the sensor's own geometry"):
        service(str(path)).served("S1GRD")
    good = json.loads(json.dumps(GOOD))
    good["modalities"]["S1GRD"]["geocoded"] = True
    good["modalities"]["S2L2A"] = {"collection": "s2", "bands": {"B02": "blue"}, "offset": 1000,
                                   "properties": {"cloud": "my:cloud"}}  # fmt: skip
    path = tmp_path / "mine.yaml"
    path.write_text(json.dumps(good))  # JSON is YAML
    mine = service(str(path))
    assert mine.served("S1GRD").bands == {"vv": "v", "vh": "h"}
    scene = scene_of(s2("2021-03-02", **{"my:cloud": 40, "grid:code": "x"}), mine.served("S2L2A"))
    assert (scene.cloud, scene.offset, scene.why_offset) == (0.4, 1000, "the service's description")
    assert list(scene.hrefs) == ["B02"]


def test_a_url_is_taken_for_a_service_like_another() -> None:
    made = service("http://localhost:8080/", "planetary-computer")
    assert (made.name, made.url) == ("localhost", "http://localhost:8080")
    assert made.modalities == service("planetary-computer").modalities
    assert made.headers == {}
    mirror = service("http://localhost:8080")
    assert mirror.served("S2L2A") == service("earth-search").served("S2L2A")
    assert mirror.served("S2L1C").collection == "sentinel-2-l1c"
    with pytest.raises(ValueError, match="localhost has S1GRD in the sensor's own geometry"):
        mirror.served("S1GRD")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": None}, "url: expected text, got None"),
        ({"url": "ftp://x"}, "url: expected http"),
        ({"url": "https://user:hush@x/"}, "without user, password"),
        ({"url": "https://x/?key=hush"}, "without user, password"),
        ({"token": "x"}, "token: expected http"),
        ({"extra": 1}, "unknown entry 'extra', expected"),
        ({"modalities": {}}, "modalities: expected at least one of S2L2A"),
        ({"modalities": []}, "modalities: expected a mapping"),
        ({"modalities": {"S9": {}}}, "modalities.S9: unknown, expected one of"),
        ({"modalities": {"DEM": 3}}, "modalities.DEM: expected a mapping"),
        ({"modalities": {"DEM": {"collection": "x"}}}, "modalities.DEM: has no entry 'bands'"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {}}}}, "bands: expected some of DEM"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {"B1": "y"}}}}, "unknown 'B1'"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {"DEM": 3}}}}, "DEM: expected text"),
        ({"modalities": {"DEM": {"collection": 3, "bands": {"DEM": "y"}}}}, "collection: expected"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {"DEM": "y"}, "offset": 7}}},
         "offset: expected 0 or 1000, got 7"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {"DEM": "y"}, "dated": 1}}},
         "dated: expected true or false"),
        ({"modalities": {"DEM": {"collection": "x", "bands": {"DEM": "y"},
                                 "properties": {"clouds": "z"}}}}, "unknown 'clouds'"),
        ({"options": {"retries": 3}}, "options: unknown 'retries', expected some of endpoint"),
        ({"options": {"anonymous": "yes"}}, "options, anonymous: expected true or false"),
        ({"headers": {"X": 3}}, "headers.X: expected text, got 3"),
    ],
)  # fmt: skip
def test_a_description_that_is_not_sound(tmp_path: Path, change: Item, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(ValueError, match=message) as caught:
        service(str(path))
    assert str(path) in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "cannot be read as the description"),
        ("a.json", "[]", "expected a mapping with url"),
        ("a.json", "{}", "has no entry 'url'"),
        ("a.yaml", "a: [", "no YAML"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "no YAML"),
        ("a.txt", "{}", "expected one of copernicus, earth-search"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        service(str(tmp_path / name))
    with pytest.raises(ValueError, match=r"expected one of copernicus.* a URL, or a .yaml"):
        service("earthsearch")


def signed_by(api: Api, seconds: float) -> Service:
    """A service whose tokens the server gives, each another, for so long."""

    def token(handler: Any, number: int) -> bool:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds)
        said = {"token": f"sv=1&sig=hush{number}", "msft:expiry": f"{end:%Y-%m-%dT%H:%M:%SZ}"}
        handler.say(200, said)
        return True

    api.behave = token
    return Service("made", api.url, {}, f"{api.url}/token", {"X-Key": "MADE_KEY"})


def test_tokens_are_kept_until_they_end(monkeypatch: Any) -> None:
    monkeypatch.setenv("MADE_KEY", "secret")
    with Api([]) as api:
        made = signed_by(api, 3600)
        assert made.sign(BLOB) == f"{BLOB}?sv=1&sig=hush1"
        assert made.sign(BLOB.replace("B02", "B03")).endswith("B03.tif?sv=1&sig=hush1")
        assert made.sign(BLOB.replace("sentinel2-l2/", "other/")).endswith("sig=hush2")
        assert [path for path, _ in api.asked] == [
            "/token/sentinel2l2a01/sentinel2-l2", "/token/sentinel2l2a01/other"]  # fmt: skip
        assert api.headers[0]["X-Key"] == "secret"
        ended = time.time() + 3600 - signing.EARLY + 2
        monkeypatch.setattr(signing.time, "time", lambda: ended)
        assert made.sign(BLOB).endswith("sig=hush3")
    assert "hush" not in repr(made) + str(made.describe()) + repr(pickle.dumps(made))


def test_what_needs_no_token_gets_none() -> None:
    with Api([]) as api:
        made = signed_by(api, 3600)
        for href in ("https://files.example/a.tif", "s3://bucket/a.tif", "file:///a.tif",
                     f"{BLOB}?sv=1&sig=own", "https://x.blob.core.windows.net/"):  # fmt: skip
            assert made.sign(href) == href
        assert api.asked == []
    assert service("earth-search").sign(BLOB) == BLOB


def test_a_token_that_is_not_had_is_an_error(monkeypatch: Any) -> None:
    monkeypatch.setenv("FASTLOAD_REMOTE_ATTEMPTS", "2")
    monkeypatch.setenv("FASTLOAD_REMOTE_BACKOFF", "0.01")
    with Api([]) as api:
        made = signed_by(api, 3600)
        for status, content, message in (
            (503, b"", "HTTP 503; asked 2 times"),
            (404, b"", "HTTP 404"),
            (200, b"[]", "expected JSON with token and msft:expiry"),
            (200, {"token": "sig=hush", "msft:expiry": "soon"}, "expected JSON with token"),
            (200, {"msft:expiry": "2030-01-01T00:00:00Z"}, "expected JSON with token"),
        ):
            api.behave = lambda handler, _, s=status, c=content: (handler.say(s, c), True)[1]
            with pytest.raises(OSError, match=rf"{api.url}/token/\w+/sentinel2-l2: {message}") as e:
                made.sign(BLOB)
            assert "hush" not in str(e.value)
