"""Which DN means zero reflectance, item by item."""

import pytest

from fastload.gather.search.items import scene_of
from fastload.gather.search.offsets import ItemError, offset_of
from fastload.gather.search.services import service
from tests.gather.stac import s2

EARTH = service("earth-search").served("S2L2A")
APPLIED = "earthsearch:boa_offset_applied"


@pytest.mark.parametrize(
    ("baseline", "applied", "expected", "why"),
    [
        ("02.14", None, 0, "baseline 02.14"),
        ("02.14", False, 0, "baseline 02.14"),
        ("02.14", True, 0, APPLIED),
        ("03.01", None, 0, "baseline 03.01"),
        ("04.00", None, 1000, "baseline 04.00"),
        ("04.00", True, 0, APPLIED),
        ("04.00", False, 1000, "baseline 04.00"),
        ("05.10", None, 1000, "baseline 05.10"),
        ("05.10", True, 0, APPLIED),
        ("05.10", False, 1000, "baseline 05.10"),
    ],
)
def test_the_item_decides(baseline: str, applied: bool | None, expected: int, why: str) -> None:
    scene = scene_of(s2("2021-03-02", baseline=baseline, applied=applied), EARTH)
    assert (scene.offset, scene.why_offset) == (expected, why)
    assert scene.properties["baseline"] == baseline


@pytest.mark.parametrize(
    ("name", "properties", "expected"),
    [
        ("S2A_MSIL2A_20180302T102021_N0500_R065_T32UPA_20230901T000000", {}, 1000),
        ("S2A_MSIL2A_20180302T102021_N0206_R065_T32UPA_20180302T150000", {}, 0),
        ("x", {"s2:product_uri": "S2A_MSIL2A_20220302T102021_N0400_R065_T32UPA_2022.SAFE"}, 1000),
        ("x", {"s2:granule_id": "S2A_OPER_MSI_L2A_TL_2APS_20230701T2_A041904_T31UFU_N05.09"}, 1000),
        ("x", {"s2:datatake_id": "GS2A_20230701T103631_041904_N03.01"}, 0),
        ("x", {"eopf:datatake_id": "GS2A_20260628T115421_057535_N05.12"}, 1000),
        ("x", {"processing:version": "05.12"}, 1000),
        ("x", {"s2:processing_baseline": "no", "s2:datatake_id": "GS2A_2023_041904_N05.09"}, 1000),
    ],
)
def test_other_words_for_the_baseline(name: str, properties: dict[str, str], expected: int) -> None:
    assert offset_of(name, properties, EARTH)[0] == expected


def test_the_date_tells_nothing() -> None:
    old_anew = scene_of(s2("2017-03-02", baseline="05.00"), EARTH)
    new_but_old = scene_of(s2("2022-06-02", baseline="03.01"), EARTH)
    assert (old_anew.offset, new_but_old.offset) == (1000, 0)


def test_an_unknown_baseline_is_an_error_unless_the_user_says_it() -> None:
    unknown = s2("2021-03-02", baseline=None)
    with pytest.raises(ItemError, match=r"item S2A_32UPA_20210302_0_L2A: none of earthsearch.*s2:"
                                        r"processing_baseline.*--offset 0 or 1000"):  # fmt: skip
        scene_of(unknown, EARTH)
    scene = scene_of(unknown, EARTH, 1000)
    assert (scene.offset, scene.why_offset) == (1000, "asked for")
    assert scene_of(s2("2021-03-02", baseline="05.10", applied=True), EARTH, 1000).offset == 1000


def test_a_flag_that_is_none_is_an_error() -> None:
    with pytest.raises(ItemError, match="boa_offset_applied: expected true or false, got 'yes'"):
        scene_of(s2("2021-03-02", **{APPLIED: "yes"}), EARTH)
