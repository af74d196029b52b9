"""Searching real servers for made items: rustac's, and one that knows STAC's extensions."""

import pickle
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from fastload.gather.search.catalogue import Catalogue
from fastload.gather.search.choose import choose
from fastload.gather.search.rule import Rule
from fastload.gather.search.services import service
from tests.gather.stac import (
    EXTENSIONS,
    LAT,
    LON,
    SPLIT,
    Api,
    Item,
    candidate,
    item,
    rustac,
    s1,
    s2,
    window,
)

HALF = (10.0, 49.5, 10.505, 50.5)
MARCH = [
    s2("2021-02-28", at="23:59:59"), s2("2021-03-01", at="00:00:00"),
    s2("2021-03-31", at="00:00:00"), s2("2021-03-30", at="23:59:59"),
    s2("2021-03-10", 90.0), s2("2021-03-15", footprint=HALF),
    s2("2021-03-16", footprint=(10.51, 49.5, 11.0, 50.5)),  # has a part of the patch
    s2("2021-03-17", footprint=(20.0, 49.5, 21.0, 50.5)),
]  # fmt: skip
"""And what is out of the window, or elsewhere."""
THERE = ["S2A_32UPA_20210330_0_L2A", "S2A_32UPA_20210315_0_L2A", "S2A_32UPA_20210310_0_L2A",
         "S2A_32UPA_20210301_0_L2A"]  # fmt: skip
PROCESSINGS = [
    s2("2021-03-05", baseline="02.14"), s2("2021-03-05", baseline="05.00", sequence=1),
    s2("2021-03-06", baseline="05.00", sequence=1), s2("2021-03-06", baseline="02.14", sequence=2),
    s2("2021-03-07", sequence=0), s2("2021-03-07", sequence=1),
    s2("2021-03-08", tile="32UPA"), s2("2021-03-08", tile="32UNA"),  # not the same tile
    s2("2021-03-09", satellite="A"), s2("2021-03-09", satellite="B"),  # not the same satellite
    s2("2021-03-11", sequence=0, updated="2023-01-01T00:00:00Z"), {
        **s2("2021-03-11", sequence=0, updated="2022-01-01T00:00:00Z"), "id": "Z_32UPA_older"},
]  # fmt: skip
"""Of acquisitions, of which some are there twice."""
NEWEST = ["S2A_32UPA_20210311_0_L2A", "S2A_32UPA_20210309_0_L2A", "S2B_32UPA_20210309_0_L2A",
          "S2A_32UNA_20210308_0_L2A", "S2A_32UPA_20210308_0_L2A", "S2A_32UPA_20210307_1_L2A",
          "S2A_32UPA_20210306_1_L2A", "S2A_32UPA_20210305_1_L2A"]  # fmt: skip
RADAR = [
    s1("2021-03-04"), s1("2021-03-04", unique="FFFF", updated="2023-01-01T00:00:00Z"),
    s1("2021-03-05", mode="EW"), s1("2021-03-06", pols=("VV",)),
    s1("2021-03-07", pols=("HH", "HV")),
]  # fmt: skip


def catalogue(url: str, like: str = "earth-search", **given: Any) -> Catalogue:
    quick = {"attempts": 3, "backoff": 0.01, "patience": 20.0, "timeout": 10.0}
    return Catalogue(service(url, like), **{**quick, **given})


def ids(found: Sequence[Any]) -> list[str]:
    return [scene.id for scene in found]


@pytest.fixture(scope="module")
def many() -> list[Item]:
    """Thousands of items all over the globe, beside those that tests look for."""
    far = [s2(f"2021-03-{1 + n % 28:02d}", tile="18TWL", satellite="AB"[n % 2],
              sequence=n, footprint=(-75 + n % 20, 40 - n % 15, -74 + n % 20, 41 - n % 15))
           for n in range(3000)]  # fmt: skip
    antimeridian = [s2("2021-03-10", tile="01KAB", footprint=SPLIT)]
    elevation = [
        item(f"DEM_E0{lon}", "2021-04-22T00:00:00Z", "cop-dem-glo-30", ["data"],
             (lon, 49.0, lon + 1, 51.0), **{"proj:epsg": 4326})
        for lon in (10, 11)
    ]  # fmt: skip
    return [*far, *MARCH, *RADAR, *antimeridian, *elevation]


@pytest.fixture(scope="module", params=["rustac", "extensions", "plain"])
def url(
    request: pytest.FixtureRequest, many: list[Item], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "rustac":
        with rustac(many, tmp_path_factory.mktemp("rustac")) as found:
            yield found
    else:
        conforms = EXTENSIONS if request.param == "extensions" else ()
        with Api(many, conforms) as api:
            yield api.url


def test_the_window_the_place_and_the_order(url: str) -> None:
    found = catalogue(url).scenes("S2L2A", candidate(), window())
    assert ids(found) == THERE
    assert found[0].hrefs["B8A"] == "https://files.example/S2A_32UPA_20210330_0_L2A/nir08.tif"
    assert (found[0].crs, found[0].cloud, str(found[0].time)) == (
        32632, 0.05, "2021-03-30T23:59:59.500000000")  # fmt: skip
    assert found[0].properties["tile"] == "32UPA"
    assert ids(catalogue(url, page=2).scenes("S2L2A", candidate(), window())) == THERE
    assert catalogue(url).scenes("S2L2A", candidate(), window("2019-01-01", "2019-02-01")) == []
    assert catalogue(url).scenes("S2L2A", candidate(50.0, 10.0), window()) == []


def test_radar_of_the_mode_and_polarisations(url: str) -> None:
    found = catalogue(url, "planetary-computer").scenes("S1RTC", candidate(), window())
    assert ids(found) == ["S1A_IW_GRDH_1SDV_20210304T052000_20210304T052025_036000_0430AB_FFFF_rtc"]
    assert set(found[0].hrefs) == {"vv", "vh"}
    assert (found[0].cloud, found[0].why_offset) == (None, "")


def test_a_place_on_the_antimeridian(url: str) -> None:
    for lon in (179.995, -179.995):
        where = candidate(lon, -17.5)
        assert ids(catalogue(url).scenes("S2L2A", where, window())) == ["S2A_01KAB_20210310_0_L2A"]


def test_elevation_without_dates_and_of_several_tiles(url: str) -> None:
    search = catalogue(url)
    assert ids(search.scenes("DEM", candidate(), window())) == ["DEM_E010"]
    (both,) = search.scenes("DEM", candidate(11.005, LAT), window())
    assert both.id == "DEM_E011+DEM_E010"
    assert {name: href.split("/")[3] for name, href in both.hrefs.items()} == {
        "DEM": "DEM_E011", "DEM 2": "DEM_E010"}  # fmt: skip
    assert search.scenes("DEM", candidate(40.0, LAT), window()) == []


def test_only_the_newest_processing_of_an_acquisition() -> None:
    for items in (PROCESSINGS, PROCESSINGS[::-1]):
        with Api(items) as api:
            assert ids(catalogue(api.url).scenes("S2L2A", candidate(), window())) == NEWEST


def test_a_tile_that_two_strips_share_is_no_processing_of_another() -> None:
    """The newer one has the centre alone, the older one the whole patch."""
    halves = [s2("2021-03-05", sequence=1, footprint=HALF), s2("2021-03-05", sequence=0)]
    with Api(halves) as api:
        found = catalogue(api.url).scenes("S2L2A", candidate(), window())
    assert ids(found) == ["S2A_32UPA_20210305_0_L2A"]


def test_nothing_is_sent_that_the_server_does_not_claim() -> None:
    def bodies(conforms: Sequence[str], modality: str, like: str) -> Item:
        with Api([*MARCH, *RADAR], conforms) as api:
            catalogue(api.url, like).scenes(modality, candidate(), window())
            assert api.asked[0] == ("/", None)
            return dict(api.asked[1][1])

    always = {"collections", "intersects", "datetime", "limit"}
    optical, radar = ("S2L2A", "earth-search"), ("S1RTC", "planetary-computer")
    assert set(bodies((), *optical)) == set(bodies((), *radar)) == always
    assert set(bodies(EXTENSIONS, *optical)) == always | {"sortby", "fields"}
    assert bodies(EXTENSIONS, *radar)["query"] == {"sar:instrument_mode": {"eq": "IW"}}
    body = bodies(("filter",), *radar)
    assert set(body) == always | {"filter", "filter-lang"}
    assert body["filter"] == {"op": "=", "args": [{"property": "sar:instrument_mode"}, "IW"]}


def test_a_catalogue_is_shared_by_threads_and_pickles() -> None:
    with Api(MARCH) as api:
        search = catalogue(api.url, page=2)
        twin = pickle.loads(pickle.dumps(search))
        with ThreadPoolExecutor(8) as pool:
            found = pool.map(lambda _: search.scenes("S2L2A", candidate(), window()), range(16))
            assert all(ids(scenes) == THERE for scenes in found)
        assert [path for path, _ in api.asked].count("/") == 1
        assert search.requests == len(api.asked)
        assert ids(twin.scenes("S2L2A", candidate(), window())) == THERE


ALL = [*MARCH, *PROCESSINGS, *RADAR, s2("2021-03-05", 1.0, tile="33UVR"),
       *(s2(day, level="1C") for day in ("2021-03-05", "2021-03-08"))]  # fmt: skip


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with Api([]) as made:
        yield made


@given(order=st.permutations(range(len(ALL))), page=st.integers(2, 40), largest=st.integers(2, 40),
       conforms=st.sets(st.sampled_from(EXTENSIONS)))  # fmt: skip
@examples(max_examples=15, deadline=None)
def test_the_choice_depends_on_no_order_and_no_page_size(
    api: Api, order: list[int], page: int, largest: int, conforms: set[str]
) -> None:
    api.items, api.largest, api.conforms = [ALL[n] for n in order], largest, sorted(conforms)
    search = catalogue(api.url, page=page)
    got = choose(
        lambda modality, when: search.scenes(modality, candidate(), when),
        candidate(LON, LAT), ("S2L2A", "S2L1C"), Rule("newest", pair=True), lambda scene: None,
    )  # fmt: skip
    assert {name: ids(scenes) for name, scenes in got.items()} == {
        "S2L2A": ["S2A_32UPA_20210308_0_L2A"], "S2L1C": ["S2A_32UPA_20210308_0_L1C"]}  # fmt: skip
