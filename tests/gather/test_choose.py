"""One scene a date, out of made ones."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from fastload.gather.candidate import Window
from fastload.gather.patch import Unfit
from fastload.gather.scene import Scene
from fastload.gather.search.choose import choose, cloud_share
from fastload.gather.search.items import scene_of
from fastload.gather.search.offsets import ItemError
from fastload.gather.search.rule import Rule
from fastload.gather.search.services import service
from tests.gather.stac import LAT, SPLIT, Item, candidate, item, s1, s2, window

EARTH, PLANET = service("earth-search"), service("planetary-computer")
WINDOWS = (window(), window("2021-06-01", "2021-06-30"))
WHERE = candidate(10.5, LAT, *WINDOWS)
HALF = (10.0, 49.5, 10.505, 50.5)
"""Has the centre, and half of the patch."""


def scenes(*items: Item) -> list[Scene]:
    served = [*EARTH.modalities.values(), PLANET.modalities["S1RTC"]]
    names = {one.collection: one for one in served}
    return [scene_of(entry, names[entry["collection"]]) for entry in items]


class Archive:
    """What `choose` asks: scenes by modality and window, and classifications."""

    def __init__(self, *items: Item, clouds: dict[str, float] | None = None) -> None:
        self.scenes, self.clouds, self.looked = scenes(*items), clouds or {}, list[str]()

    def find(self, modality: str, when: Window) -> Sequence[Scene]:
        return [s for s in self.scenes if s.modality == modality
                and (modality == "DEM" or when.start <= s.time < when.end)]  # fmt: skip

    def look(self, scene: Scene) -> Any:
        """Vegetation, with clouds of a share; NaN: with a pixel that has no data."""
        self.looked.append(scene.id)
        share, classes = self.clouds[scene.id], np.full(100, 4, np.uint8)
        classes[: 100 if np.isnan(share) else round(100 * share)] = 9
        classes[-1] *= not np.isnan(share)
        return classes.reshape(10, 10)

    def choose(self, rule: Rule, *modalities: str, where: Any = WHERE) -> dict[str, list[str]]:
        got = choose(self.find, where, modalities or ("S2L2A",), rule, self.look)
        return {name: [scene.id for scene in found] for name, found in got.items()}


NEWEST, COVERING, CLEAR = Rule("newest"), Rule("covering"), Rule("clear")
JUNE = s2("2021-06-03", 3.0)
IN_JUNE = "S2A_32UPA_20210603_0_L2A"


def march(day: int, sequence: int = 0, tile: str = "32UPA") -> str:
    return f"S2A_{tile}_202103{day:02d}_{sequence}_L2A"


def test_the_newest_below_the_bound() -> None:
    archive = Archive(JUNE, s2("2021-03-05", 1.0), s2("2021-03-20", 20.0), s2("2021-03-25", 90.0),
                      s2("2021-03-15", 19.99), s2("2021-03-10", 0.0))  # fmt: skip
    for rule in (NEWEST, COVERING):
        assert archive.choose(rule) == {"S2L2A": [march(15), IN_JUNE]}
    assert archive.choose(Rule("newest", cloud=0.2001))["S2L2A"] == [march(20), IN_JUNE]
    assert archive.choose(Rule("newest", cloud=None))["S2L2A"] == [march(25), IN_JUNE]
    assert archive.looked == []


def test_ties_go_to_the_first_id() -> None:
    ties = [s2("2021-03-05", tile=tile) for tile in ("32UPB", "32UNA", "32UQA")]
    for order in (ties, ties[::-1]):
        assert Archive(JUNE, *order).choose(NEWEST)["S2L2A"][0] == march(5, tile="32UNA")


def test_half_a_patch_is_enough_for_the_published_rule_alone() -> None:
    archive = Archive(JUNE, s2("2021-03-20", footprint=HALF), s2("2021-03-10"))
    assert archive.choose(NEWEST)["S2L2A"][0] == march(20)
    assert archive.choose(COVERING)["S2L2A"][0] == march(10)
    with pytest.raises(Unfit, match="2021-03-01 to before 2021-03-31 covers the patch") as caught:
        Archive(JUNE, s2("2021-03-20", footprint=HALF)).choose(COVERING)
    assert caught.value.reason == "no scene"


def test_a_date_without_a_scene_is_unfit() -> None:
    for rule in (NEWEST, COVERING, CLEAR):
        with pytest.raises(Unfit, match="none of S2L2A from 2021-03-01") as caught:
            Archive(JUNE).choose(rule)
        assert caught.value.reason == "no scene"
        with pytest.raises(Unfit, match=r"of 2 .* the clearest has 20.0% cloud") as caught:
            Archive(JUNE, s2("2021-03-05", 20.0), s2("2021-03-06", 90.0)).choose(rule)
        assert caught.value.reason == "cloud"


def test_the_clearest_patch_and_no_more_looks_than_needed() -> None:
    items = [s2("2021-03-25", 1.0), s2("2021-03-20", 2.0), s2("2021-03-15", 3.0), s2("2021-03-10")]
    clouds = {march(25): 0.3, march(20): 0.02, march(15): 0.02, march(10): 0.1, IN_JUNE: 0.0}
    archive = Archive(JUNE, *items, clouds=clouds)
    assert archive.choose(CLEAR)["S2L2A"] == [march(20), IN_JUNE]  # the newer of two
    assert archive.looked == [march(25), march(20), march(15), march(10), IN_JUNE]
    archive.looked.clear()
    assert archive.choose(Rule("clear", patch_cloud=0.05))["S2L2A"] == [march(20), IN_JUNE]
    assert archive.looked == [march(25), march(20), IN_JUNE]
    archive.clouds[march(25)] = 0.0
    archive.looked.clear()
    assert archive.choose(CLEAR)["S2L2A"] == [march(25), IN_JUNE]
    assert archive.looked == [march(25), IN_JUNE]


def test_a_patch_with_pixels_that_nobody_saw_is_passed_over() -> None:
    items = [JUNE, s2("2021-03-25"), s2("2021-03-20")]
    clouds = {march(25): float("nan"), march(20): 0.9, IN_JUNE: 0.0}
    assert Archive(*items, clouds=clouds).choose(CLEAR)["S2L2A"][0] == march(20)
    with pytest.raises(Unfit, match="all 2 scenes of a date") as caught:
        Archive(*items, clouds={**clouds, march(20): float("nan")}).choose(CLEAR)
    assert caught.value.reason == "no data"


def test_the_share_of_cloud_is_of_clouds_alone() -> None:
    assert cloud_share(np.arange(12, dtype=np.uint8).reshape(3, 4)) == 3 / 12


def test_levels_are_paired_where_that_is_asked_for() -> None:
    both = [s2(day, level=level) for day in ("2021-03-10", "2021-06-03") for level in ("2A", "1C")]
    archive = Archive(*both, s2("2021-03-20"), s2("2021-03-25", level="1C", baseline="02.09"),
                      clouds={march(10): 0.5, IN_JUNE: 0.0})  # fmt: skip
    assert archive.choose(NEWEST, "S2L1C", "S2L2A") == {
        "S2L1C": ["S2A_32UPA_20210325_0_L1C", "S2A_32UPA_20210603_0_L1C"],
        "S2L2A": [march(20), IN_JUNE],
    }
    paired = archive.choose(CLEAR, "S2L1C", "S2L2A")
    assert paired["S2L2A"] == [march(10), IN_JUNE]
    assert [name[:-3] for name in paired["S2L1C"]] == [name[:-3] for name in paired["S2L2A"]]
    assert archive.choose(Rule("newest", pair=True), "S2L1C", "S2L2A")["S2L1C"][0] == (
        "S2A_32UPA_20210310_0_L1C"
    )
    apart = Archive(JUNE, s2("2021-06-03", level="1C"), s2("2021-03-20"),
                    s2("2021-03-25", level="1C"))  # fmt: skip
    with pytest.raises(Unfit, match="no acquisition of a date is there as S2L2A and S2L1C"):
        apart.choose(CLEAR, "S2L2A", "S2L1C")


def test_processings_of_other_baselines_are_pairs_all_the_same() -> None:
    items = [JUNE, s2("2021-06-03", level="1C"), s2("2021-03-10", baseline="05.00"),
             s2("2021-03-10", level="1C", baseline="02.09")]  # fmt: skip
    archive = Archive(*items, clouds={march(10): 0.0, IN_JUNE: 0.0})
    assert archive.choose(CLEAR, "S2L2A", "S2L1C")["S2L1C"][0] == "S2A_32UPA_20210310_0_L1C"


EDGE = candidate(11.9, LAT, *WINDOWS)
WIDE = (11.5, 49.5, 12.5, 50.5)


def zoned(day: str, zone: int, **more: Any) -> Item:
    return s2(day, tile=f"{zone}UQA", footprint=WIDE, **more)


def test_all_dates_lie_on_one_grid() -> None:
    """That of the zone of the centre, though another has newer scenes; else the next."""
    june = [zoned("2021-06-03", zone) for zone in (32, 33)]
    archive = Archive(*june, zoned("2021-03-20", 33), zoned("2021-03-10", 32))
    for rule in (NEWEST, COVERING):
        chosen = archive.choose(rule, where=EDGE)["S2L2A"]
        assert chosen == [march(10, tile="32UQA"), "S2A_32UQA_20210603_0_L2A"]
    other = Archive(*june, zoned("2021-03-20", 33)).choose(NEWEST, where=EDGE)["S2L2A"]
    assert other == [march(20, tile="33UQA"), "S2A_33UQA_20210603_0_L2A"]
    east = candidate(12.1, LAT, *WINDOWS)
    assert archive.choose(NEWEST, where=east)["S2L2A"][0] == march(20, tile="33UQA")
    with pytest.raises(Unfit, match="no grid has S2L2A for every date") as caught:
        Archive(june[0], zoned("2021-03-20", 33)).choose(NEWEST, where=EDGE)
    assert caught.value.reason == "grids"


def test_a_zone_whose_patches_have_no_data_gives_way_to_the_next() -> None:
    items = [zoned(day, zone) for day in ("2021-03-10", "2021-06-03") for zone in (32, 33)]
    clouds = {entry["id"]: 0.0 for entry in items} | {"S2A_32UQA_20210603_0_L2A": float("nan")}
    chosen = Archive(*items, clouds=clouds).choose(CLEAR, where=EDGE)["S2L2A"]
    assert chosen == ["S2A_33UQA_20210310_0_L2A", "S2A_33UQA_20210603_0_L2A"]


def test_the_southern_hemisphere_has_grids_of_its_own() -> None:
    windows = candidate(10.5, -0.01, *WINDOWS)
    wide = (10.0, -0.5, 11.0, 0.5)
    items = [s2(day, tile=tile, footprint=wide, **{"proj:epsg": code})
             for day in ("2021-03-10", "2021-06-03")
             for tile, code in (("32NPF", 32632), ("32MPE", 32732))]  # fmt: skip
    assert Archive(*items).choose(NEWEST, where=windows)["S2L2A"][0] == march(10, tile="32MPE")
    north = windows._replace(lat=0.01)
    assert Archive(*items).choose(NEWEST, where=north)["S2L2A"][0] == march(10, tile="32NPF")


def test_radar_has_dates_of_its_own_and_the_grid_of_the_optical_scenes() -> None:
    optical = [zoned(day, 33) for day in ("2021-03-10", "2021-06-03")]
    radar = [s1(day, zone=zone, footprint=WIDE, unique=f"00{zone}")
             for day in ("2021-03-12", "2021-06-13") for zone in (32, 33)]  # fmt: skip
    chosen = Archive(*optical, *radar).choose(NEWEST, "S1RTC", "S2L2A", where=EDGE)
    assert list(chosen) == ["S1RTC", "S2L2A"]
    assert [name[-8:-4] for name in chosen["S1RTC"]] == ["0033", "0033"]
    alone = Archive(*radar).choose(NEWEST, "S1RTC", where=EDGE)
    assert [name[-8:-4] for name in alone["S1RTC"]] == ["0032", "0032"]
    with pytest.raises(Unfit, match="none of S1RTC from 2021-06-01"):
        Archive(*optical, *radar[:2]).choose(NEWEST, "S2L2A", "S1RTC", where=EDGE)


def test_elevation_is_one_scene() -> None:
    tile = item("DEM_N50_E010", "2021-04-22T00:00:00Z", "cop-dem-glo-30", ["data"],
                (10.0, 49.9, 11.0, 51.0))  # fmt: skip
    assert Archive(JUNE, s2("2021-03-10"), tile).choose(NEWEST, "S2L2A", "DEM")["DEM"] == [
        "DEM_N50_E010"
    ]
    with pytest.raises(Unfit, match="no DEM"):
        Archive(JUNE, s2("2021-03-10")).choose(NEWEST, "S2L2A", "DEM")


def test_what_a_rule_needs_is_said() -> None:
    with pytest.raises(ValueError, match=r"rule 'clear' looks for clouds .* ask for S2L2A too"):
        Archive(JUNE).choose(CLEAR, "S2L1C")
    with pytest.raises(ValueError, match="modality 'S3': expected some of S2L2A"):
        Archive(JUNE).choose(NEWEST, "S3")
    with pytest.raises(ValueError, match="rule 'best': expected one of newest"):
        Rule("best")
    for bad in ({"cloud": 20.0}, {"cloud": 0.0}, {"patch_cloud": 2.0}):
        with pytest.raises(ValueError, match="must be"):
            Rule(**bad)  # type: ignore[arg-type]
    with pytest.raises(ItemError, match=r"item S2A_32UPA_20210310_0_L2A: no eo:cloud_cover"):
        Archive(JUNE, s2("2021-03-10", None)).choose(NEWEST)
    unknown = s2("2021-03-10", **{"grid:code": "x", "proj:epsg": None})
    unknown["id"] = "no-tile"
    with pytest.raises(ItemError, match="item no-tile: neither proj:code nor"):
        Archive(JUNE, unknown).choose(NEWEST)


def test_scenes_across_the_antimeridian() -> None:
    where = candidate(179.999, -17.5, *WINDOWS)
    items = [s2(day, tile="01KAB", footprint=SPLIT) for day in ("2021-03-10", "2021-06-03")]
    assert Archive(*items).choose(COVERING, where=where)["S2L2A"][0] == march(10, tile="01KAB")
