"""What servers do wrong: asked again, or said; never taken for "no scene"."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastload.gather.search.catalogue import Catalogue
from fastload.gather.search.offsets import ItemError
from fastload.gather.search.services import Service, service
from fastload.storage.remote.trouble import Refused, Trouble
from tests.gather.stac import Api, Item, candidate, s1, s2, window
from tests.gather.test_catalogue import MARCH, THERE, catalogue, ids
from tests.remote.servers import free_port

Fault = Callable[[Any], object]


def broken(api: Api, numbers: set[int], fault: Fault) -> None:
    """Make the server go wrong at requests of some numbers; 1 is the landing page."""
    api.behave = lambda handler, number: number in numbers and (fault(handler), True)[1]


def scenes(api: Api, **given: Any) -> list[str]:
    return ids(catalogue(api.url, **given).scenes("S2L2A", candidate(), window()))


def reset(handler: Any) -> None:
    handler.close_connection = True
    handler.connection.close()


PASSING: dict[str, Fault] = {
    "503": lambda handler: handler.say(503, b"busy"),
    "500": lambda handler: handler.say(500, {"code": "InternalServerError"}),
    "429": lambda handler: handler.say(429, b"", Retry_After="0"),
    "reset": reset,
    "cut": lambda handler: handler.say(200, handler.server.search(handler.server.asked[-1][1] or {
        "collections": []}), 10),
    "no json": lambda handler: handler.say(200, b"<html>Bad gateway</html>"),
    "half json": lambda handler: handler.say(200, b'{"type": "FeatureCollection", "feat'),
    "nothing": lambda handler: handler.say(200, b""),
    "no features": lambda handler: handler.say(200, {"code": "oops", "description": "no"}),
    "null": lambda handler: handler.say(200, {"type": "FeatureCollection", "features": None}),
    "short": lambda handler: handler.say(200, {
        "type": "FeatureCollection", "features": [], "numberReturned": 3}),
    "no gzip": lambda handler: handler.say(200, b"x", 0, Content_Encoding="gzip"),
}  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again(fault: str) -> None:
    with Api(MARCH) as api:
        broken(api, {2, 4}, PASSING[fault])
        assert scenes(api, page=2) == THERE


@pytest.mark.parametrize("fault", PASSING)
def test_what_stays_is_an_error_that_names_url_and_answer(fault: str) -> None:
    with Api(MARCH) as api:
        broken(api, set(range(3, 100)), PASSING[fault])  # the second page, for ever
        with pytest.raises(Trouble, match=rf"{api.url}/search: .*; asked 3 times"):
            scenes(api, page=2)
        # A connection that was kept may be closed by now, and is opened anew at once.
        assert len(api.asked) == (6 if fault == "reset" else 5)


def test_a_server_that_never_was_there_is_an_error() -> None:
    with pytest.raises(Trouble, match=r"http://127.0.0.1:\d+: the connection failed .*asked 3"):
        catalogue(f"http://127.0.0.1:{free_port()}").scenes("S2L2A", candidate(), window())


def test_retry_after_is_obeyed() -> None:
    with Api(MARCH) as api:
        broken(api, {2}, lambda handler: handler.say(429, b"", Retry_After="1"))
        start = time.monotonic()
        assert scenes(api) == THERE
        assert time.monotonic() - start >= 1
        broken(api, {4}, lambda handler: handler.say(503, b"", Retry_After="3600"))
        with pytest.raises(Trouble, match="HTTP 503, which asks to wait 3600 s; asked once"):
            scenes(api)


def test_a_refusal_is_said_at_once() -> None:
    with Api(MARCH) as api:
        broken(api, {2}, lambda handler: handler.say(400, {"description": "bad polygon"}))
        with pytest.raises(Refused, match=r"/search: HTTP 400 \(.*bad polygon"):
            scenes(api)
        assert len(api.asked) == 2
    with Api(MARCH) as api:
        broken(api, {1}, lambda handler: handler.say(200, {**api.landing(), "conformsTo": []}))
        with pytest.raises(Refused, match="does not say that it can be searched"):
            scenes(api)


@pytest.mark.parametrize("wrong", [{"type": "Catalog"}, {"conformsTo": [3]}], ids=str)
def test_a_page_that_is_no_landing_page_is_refused(wrong: Item) -> None:
    with Api(MARCH) as api:
        page = wrong if "type" in wrong else {**api.landing(), **wrong}
        broken(api, {1}, lambda handler: handler.say(200, page))
        with pytest.raises(Refused, match="is no STAC API's landing page"):
            scenes(api)


def test_pages_without_end_are_noticed() -> None:
    with Api(MARCH) as api:
        first: Item = {}

        def again(handler: Any) -> None:
            page = api.search({**api.asked[-1][1], "token": 0})
            handler.say(200, first.setdefault("page", page))

        broken(api, set(range(2, 100)), again)
        with pytest.raises(Refused, match="page 2 has the items of pages before it"):
            scenes(api, page=2)


def test_fewer_items_than_promised_are_noticed() -> None:
    with Api(MARCH) as api:
        api.matched = 40
        with pytest.raises(Trouble, match="/search: says that it has 40 items, and gave 5"):
            scenes(api)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"properties": {"datetime": "yesterday"}}, "properties.datetime: expected a time"),
        ({"properties": {"datetime": "9999-12-31T00:00:00Z"}}, "is no time of a scene"),
        ({"properties": {"datetime": "0001-01-01T00:00:00+10:00"}}, "expected a time"),
        ({"properties": {"datetime": None}}, "properties.start_datetime: expected a time"),
        ({"properties": {"eo:cloud_cover": "few"}}, "eo:cloud_cover: expected 0 to 100, got 'few'"),
        ({"properties": {"eo:cloud_cover": -1}}, "eo:cloud_cover: expected 0 to 100, got -1"),
        ({"geometry": None}, "of .*/search: geometry is not there"),
        ({"geometry": {"type": "Polygon"}}, "geometry: expected a Polygon"),
        ({"assets": {"blue": {}}}, "assets.blue: has no href, which B02 needs"),
        ({"assets": {"blue": {"href": "ftp://x/y"}}}, "assets.blue.href: expected a URL of one of"),
        ({"assets": {"blue": {"href": "y.tif"}}}, "assets.blue.href: expected a URL of one of"),
        ({"assets": None}, "assets.coastal: has no href, which B01 needs"),
        ({"id": 3}, "an item without id"),
    ],
    ids=str,
)  # fmt: skip
def test_an_item_that_lacks_something_is_named(change: Item, message: str) -> None:
    good = s2("2021-03-10")
    bad = {key: {**good[key], **value} if isinstance(value, dict) and key != "geometry" else value
           for key, value in change.items()}  # fmt: skip
    with Api([]) as api:
        page = {"type": "FeatureCollection", "features": [{**good, **bad}]}
        broken(api, {2}, lambda handler: handler.say(200, page))
        with pytest.raises(ItemError, match=message) as caught:
            scenes(api)
    assert "id" in change or "item S2A_32UPA_20210310_0_L2A" in str(caught.value)


def test_radar_that_does_not_say_its_mode_is_named() -> None:
    silent = s1("2021-03-10")
    del silent["properties"]["sar:polarizations"]
    with Api([silent]) as api, pytest.raises(ItemError, match=r"sar:polarizations: is not there"):
        catalogue(api.url, "planetary-computer").scenes("S1RTC", candidate(), window())


def test_hrefs_beside_the_item_are_found() -> None:
    entry = s2("2021-03-10")
    entry["links"] = [{"rel": "self", "href": "https://archive.example/items/one/item.json"}]
    entry["assets"]["blue"]["href"] = "./B02.tif"
    with Api([entry]) as api:
        (found,) = catalogue(api.url).scenes("S2L2A", candidate(), window())
    assert found.hrefs["B02"] == "https://archive.example/items/one/B02.tif"


def secretive(url: str) -> Service:
    like = service("earth-search")
    return Service("made", url, like.modalities, headers={"Authorization": "MADE_KEY"})


def test_secrets_go_to_the_service_alone_and_into_no_error(monkeypatch: Any) -> None:
    monkeypatch.setenv("MADE_KEY", "Bearer hush")
    given: dict[str, Any] = {"attempts": 2, "backoff": 0.01}
    with Api(MARCH) as other, Api(MARCH) as api:
        made = Catalogue(secretive(api.url), page=2, **given)
        page = api.search({"collections": ["sentinel-2-l2a"], "intersects": MARCH[0]["geometry"],
                           "limit": 2})  # fmt: skip
        page["links"][0]["href"] = f"{other.url}/search"
        page["links"][0]["headers"] = {"X-Also": "sent"}
        broken(api, {2}, lambda handler: handler.say(200, page))
        assert made.scenes("S2L2A", candidate(), window())
        assert all(headers["Authorization"] == "Bearer hush" for headers in api.headers)
        assert other.asked
        assert not any({"Authorization", "X-Also"} & set(headers) for headers in other.headers)
        broken(api, set(range(99)), lambda handler: handler.say(
            500, json.dumps(dict(handler.headers)).encode()))  # fmt: skip
        with pytest.raises(Trouble) as caught:
            made.scenes("S2L2A", candidate(), window())
    assert "hush" not in str(caught.value) + repr(made.service) + str(made.service.describe())


def test_a_server_that_moved_is_followed() -> None:
    with Api(MARCH) as other, Api(MARCH) as api:
        broken(api, set(range(99)), lambda handler: handler.say(
            307, b"", Location=f"{other.url}{handler.path}"))  # fmt: skip
        assert scenes(api) == THERE
        broken(other, set(range(99)), lambda handler: handler.say(
            307, b"", Location=f"{api.url}{handler.path}"))  # fmt: skip
        with pytest.raises(Refused, match="sent on more than 5 times"):
            scenes(api)
