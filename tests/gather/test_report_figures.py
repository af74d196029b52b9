"""The report's figures against slow and independent computations."""

import math
import re
from collections import Counter
from datetime import date
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastload.gather.patch import Outcome
from fastload.gather.plan.plan import Plan
from fastload.gather.report import dates as when
from fastload.gather.report.distances import distances, overlaps
from fastload.gather.report.failures import failures
from fastload.gather.report.figures import of_gathered
from fastload.gather.report.histogram import histogram
from fastload.gather.report.locations import ABSENT, OPEN, WHOLE, Locations
from fastload.gather.report.manifest import collected
from fastload.gather.report.nearest import closer, nearest
from fastload.gather.report.squares import Squares, around, shared, zone
from fastload.gather.report.windows import windows
from tests.gather import fabricated

PATCH = 2640.0
SEASON_OF = {12: 0, 1: 0, 2: 0, 3: 1, 4: 1, 5: 1, 6: 2, 7: 2, 8: 2, 9: 3, 10: 3, 11: 3}


def places(count: int, seed: int) -> tuple[Any, Any]:
    """Some in clusters, at the antimeridian and at the poles too, and some twice."""
    rng = np.random.default_rng(seed)
    lon = np.concatenate([rng.uniform(-180, 180, count), 180 + rng.normal(0, 0.05, count)])
    lat = np.concatenate([rng.uniform(-90, 90, count), rng.normal(0, 0.05, count)])
    lon, lat = np.append(lon, rng.uniform(-180, 180, 9)), np.append(lat, [89.99] * 5 + [-89.99] * 4)
    lon, lat = np.append(lon, lon[:2]), np.append(lat, lat[:2])
    return (lon + 180) % 360 - 180, lat


# --- distances


def geodesics(lon: Any, lat: Any) -> Any:
    """Metres between all pairs ``[N, N]``; infinite to oneself."""
    from pyproj import Geod

    N = len(lon)
    a, b = np.divmod(np.arange(N * N), N)
    truth = np.array(Geod(ellps="WGS84").inv(lon[a], lat[a], lon[b], lat[b])[2]).reshape(N, N)
    np.fill_diagonal(truth, np.inf)
    return truth


def test_nearest_neighbours_are_those_of_geodesics() -> None:
    lon, lat = places(60, 0)
    metres, who = nearest(lon, lat)
    N, truth = len(lon), geodesics(lon, lat)
    least = truth.min(axis=1)
    np.testing.assert_allclose(metres, least, rtol=5e-3)
    near = least < 10e3
    assert near.sum() > 20
    np.testing.assert_allclose(metres[near], least[near], atol=1e-3)
    np.testing.assert_allclose(truth[np.arange(N), who], least, rtol=5e-3)


def test_the_nearest_neighbour_of_one_and_of_none() -> None:
    metres, who = nearest(np.array([3.0]), np.array([4.0]))
    assert metres.tolist() == [np.inf]
    assert who.tolist() == [-1]
    assert nearest(np.zeros(0), np.zeros(0))[0].tolist() == []
    assert list(closer(np.zeros(0), np.zeros(0), 10.0)) == []
    assert distances(np.array([3.0]), np.array([4.0]), str)["median"] is None


def test_the_antipode_is_found() -> None:
    metres, who = nearest(np.array([10.0, -170.0]), np.array([20.0, -20.0]))
    assert who.tolist() == [1, 0]
    np.testing.assert_allclose(metres, math.pi * 6371008.8, rtol=5e-3)


@pytest.mark.parametrize("groups", [False, True])
def test_pairs_that_are_close(groups: bool) -> None:
    lon, lat = places(50, 1)
    of = np.arange(len(lon)) // 3 if groups else None
    found = [pair for i, j in closer(lon, lat, 5000.0, of)
             for pair in zip(i.tolist(), j.tolist(), strict=True)]  # fmt: skip
    truth = geodesics(lon, lat)
    expected = [(i, j) for i, j in combinations(range(len(lon)), 2) if truth[i, j] < 5000]
    if of is not None:
        expected = [(i, j) for i, j in expected if of[i] != of[j]]
    assert len(expected) > 10
    assert sorted(found) == sorted(expected)


def test_distances_and_their_pairs() -> None:
    lon, lat = np.array([10.0, 10.001, 20.0, 20.0]), np.array([50.0, 50.0, 0.0, 0.02])
    found = distances(lon, lat, lambda i: f"key {i}")
    first = 0.001 * math.radians(1) * 6378137 / math.sqrt(
        1 - 0.00669437999 * math.sin(math.radians(50)) ** 2
    ) * math.cos(math.radians(50))  # fmt: skip
    assert found["least"] == pytest.approx(first, rel=1e-6)
    assert [(p["first"], p["second"]) for p in found["smallest"]] == [
        ("key 0", "key 1"), ("key 2", "key 3"),
    ]  # fmt: skip
    assert found["smallest"][1]["metres"] == pytest.approx(0.02 * 110574.3, rel=1e-4)
    assert found["below"] == {"1980 m": 2, "2640 m": 4}
    assert sum(found["histogram"]["counts"]) == 4


# --- overlaps


def test_shared_ground_in_one_zone_and_across_two() -> None:
    """Two squares, each moved across the border of zones 31 and 32; the other zone's is turned."""
    a = Squares(np.array([32632]), np.array([300000.0]), np.array([5600000.0]), PATCH)
    b = Squares(np.array([32632]), np.array([301000.0]), np.array([5599000.0]), PATCH)
    assert shared(a, b).tolist() == [1640.0 * 1640.0]
    far = Squares(np.array([32632]), np.array([302640.0]), np.array([5600000.0]), PATCH)
    assert shared(a, far).tolist() == [0.0]
    east, west = np.array([6.001]), np.array([5.999])
    lat = np.array([50.0])
    one, other = around(east, lat, PATCH), around(west, lat, PATCH)
    assert (one.crs[0], other.crs[0]) == (32632, 32631)
    area = float(shared(one, other)[0])
    assert area == pytest.approx(_shared_by_points(one, other), rel=2e-2)
    assert area == pytest.approx(float(shared(other, one)[0]), rel=2e-3)


def _shared_by_points(a: Squares, b: Squares) -> float:
    """By a raster of points of a's square, each asked whether it is in b's."""
    from pyproj import Transformer

    step = PATCH / 300
    x = a.west[0] + (np.arange(300) + 0.5) * step
    y = a.north[0] - (np.arange(300) + 0.5) * step
    x, y = np.meshgrid(x, y)
    to = Transformer.from_crs(int(a.crs[0]), int(b.crs[0]), always_xy=True)
    x, y = to.transform(x.ravel(), y.ravel())
    inside = (x >= b.west[0]) & (x <= b.west[0] + PATCH) & (y <= b.north[0])
    return float((inside & (y >= b.north[0] - PATCH)).sum() * step * step)


def test_zones() -> None:
    lon = np.array([-180.0, 179.9, 0.1, -0.1, 5.9, 6.1])
    lat = np.array([1.0, -1.0, 50.0, 50.0, -50.0, 0.0])
    assert zone(lon, lat).tolist() == [32601, 32760, 32631, 32630, 32731, 32632]


def test_overlaps_are_counted_by_brute_force() -> None:
    """Around a border of zones and the antimeridian, against all pairs."""
    rng = np.random.default_rng(2)
    lon = np.concatenate([6 + rng.normal(0, 0.1, 40), 180 + rng.normal(0, 0.1, 40)])
    lat = np.concatenate([70 + rng.normal(0, 0.05, 40), rng.normal(0, 0.1, 40)])
    lon = (lon + 180) % 360 - 180
    every = around(lon, lat, PATCH)
    expected = {}
    for i, j in combinations(range(80), 2):
        if abs((lon[i] - lon[j] + 180) % 360 - 180) > 1:
            continue
        area = float(shared(every.some(np.array([i])), every.some(np.array([j])))[0])
        if area > 1:
            expected[f"{i}", f"{j}"] = area / (2 * PATCH**2 - area)
    found = overlaps(lon, lat, str, PATCH)
    assert found["pairs"] == len(expected) > 20
    worst = sorted(expected.values(), reverse=True)[:10]
    np.testing.assert_allclose([m["iou"] for m in found["most"]], worst)
    assert all(expected[m["first"], m["second"]] == pytest.approx(m["iou"]) for m in found["most"])
    own = overlaps(lon, lat, str, PATCH, every, groups=np.zeros(80, np.int64))
    assert own["pairs"] == 0


# --- dates


def test_histograms() -> None:
    found = histogram([0.0, 0.049, 0.05, 1.0, np.nan, 2.0], when.CLOUD)
    assert found["counts"][0] == 2
    assert found["counts"][1] == 1
    assert found["counts"][19] == 1
    assert sum(found["counts"]) == 4
    assert histogram([5.0, 1e9], (0, 10, math.inf)) == {"edges": [0, 10, None], "counts": [1, 1]}


def dates_of(found: list[Outcome], modality: str) -> list[tuple[int, float, list[date]]]:
    """Location, latitude and days of each that was gathered, by Python's own dates."""
    return [
        (o.location, o.lat or 0.0,
         sorted(date.fromisoformat(s["time"][:10]) for s in o.scenes[modality]))
        for o in found if o.attempt is not None
    ]  # fmt: skip


class Some(NamedTuple):
    made: Plan
    outcomes: list[Outcome]
    found: Locations


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> Some:
    made = fabricated.plan(200)
    outcomes = fabricated.outcomes(made)
    path = tmp_path_factory.mktemp("figures") / "manifest.parquet"
    trouble = {198: "a server <b>", 199: "another"}
    return Some(made, outcomes, collected(made, fabricated.manifest(path, made, outcomes, trouble)))


def test_dates_by_month_and_season(some: Some) -> None:
    _, outcomes, found = some
    about = when.figures(found.dates["S2L2A"], found.lat)
    slow = dates_of(outcomes, "S2L2A")
    every = [day for _, _, days in slow for day in days]
    assert about["dates"] == len(every)
    assert (about["first"], about["last"]) == (str(min(every)), str(max(every)))
    months = Counter(f"{d:%Y-%m}" for d in every)
    assert {month: n for month, n in about["months"].items() if n} == months
    assert list(about["months"]) == sorted(about["months"])
    assert len(about["months"]) == 22  # 2019-12 to 2021-10, if all of them are there
    assert about["month_of_year"] == [sum(d.month == m for d in every) for m in range(1, 13)]
    for kind in ("meteorological", "calendar"):
        covered, each, in_each = Counter[str](), 0, [0] * 4
        for _, lat, days in slow:
            four = [_season(d, lat) if kind == "meteorological" else (d.month - 1) // 3
                    for d in days]  # fmt: skip
            covered[str(len(set(four)))] += 1
            each += sorted(four) == [0, 1, 2, 3]
            for k in four:
                in_each[k] += 1
        told = about["seasons"][kind]
        assert {k: n for k, n in told["covered"].items() if n} == covered
        assert len(covered) > 1
        assert told["one_date_in_each"] == each
        assert told["dates"] == in_each


def _season(day: date, lat: float) -> int:
    return (SEASON_OF[day.month] + (2 if lat < 0 else 0)) % 4


def test_gaps(some: Some) -> None:
    _, outcomes, found = some
    about = when.figures(found.dates["S2L2A"], found.lat)["gaps"]
    slow = [days for _, _, days in dates_of(outcomes, "S2L2A")]
    gaps = [[(b - a).days for a, b in pairwise(d)] for d in slow]
    for k in range(3):
        mine = [g[k] for g in gaps]
        assert about["by_place"][k] == {
            "least": min(mine), "median": np.median(mine), "most": max(mine),
        }  # fmt: skip
    spans = [(d[-1] - d[0]).days for d in slow]
    assert about["span"]["least"] == min(spans)
    assert about["span"]["most"] == max(spans)
    assert sum(about["histogram"]["counts"]) == 3 * len(slow)
    assert about["histogram"]["counts"][9] == sum(90 <= g < 100 for gap in gaps for g in gap)


def test_gaps_of_single_dates_and_of_none() -> None:
    assert when.gaps(np.zeros(0, np.int64), np.zeros(0, np.int64))["span"] is None
    one = when.gaps(np.array([3, 5]), np.array([10, 20]))
    assert one["between"] is None
    assert one["span"] is None
    assert one["by_place"] == []


def test_clouds(some: Some) -> None:
    _, outcomes, found = some
    about = when.figures(found.dates["S2L2A"], found.lat)
    for key, name in (("cloud", "cloud"), ("patch_cloud", "cloud_patch")):
        slow = [s[name] for o in outcomes if o.attempt is not None for s in o.scenes["S2L2A"]]
        assert about[key]["mean"] == pytest.approx(sum(slow) / len(slow))
        assert about[key]["histogram"]["counts"] == [
            sum(k / 20 <= c < (k + 1) / 20 for c in slow) for k in range(20)
        ]
    assert when.figures(found.dates["S1GRD"], found.lat)["cloud"] is None


# --- windows


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_windows_promise_what_every_choice_of_dates_keeps(data: st.DataObject) -> None:
    made = fabricated.plan(3, tries=1)
    for i in range(3):
        first = data.draw(st.dates(date(2019, 1, 1), date(2021, 1, 1)))
        start = np.datetime64(first).astype(int) + data.draw(st.integers(80, 95)) * np.arange(4)
        made.days[i, 0] = np.stack([start, start + data.draw(st.integers(1, 40))], axis=-1)
    found = windows(made)
    for kind in ("meteorological", "calendar"):
        promised = 0
        for lat, days in zip(made.lat[:, 0], made.days[:, 0], strict=True):
            sets = [
                {_season(d, lat) if kind == "meteorological" else (d.month - 1) // 3
                 for d in np.arange(start, end).astype("datetime64[D]").astype(object)}
                for start, end in days
            ]  # fmt: skip
            promised += sorted(s.pop() if len(s) == 1 else -1 for s in sets) == [0, 1, 2, 3]
        assert found[kind]["promised"] == promised


# --- locations and failures


def test_states_and_failures(some: Some) -> None:
    made, outcomes, found = some
    states = {o.location: WHOLE if o.attempt is not None else ABSENT for o in outcomes}
    assert found.state.tolist() == [states.get(i, OPEN) for i in range(len(made))]
    about = failures(found)
    assert about["reasons"] == Counter(f["reason"] for o in outcomes for f in o.failed)
    slow: dict[int, Counter[str]] = {}
    for o in outcomes:
        lats = dict(zip(made.attempt[o.location], made.lat[o.location], strict=True))
        for f in o.failed:
            band = math.floor(lats[f["attempt"]] / 15)
            slow.setdefault(band, Counter())[f["reason"]] += 1
        if o.attempt is not None:
            slow.setdefault(math.floor(lats[o.attempt] / 15), Counter())["fitted"] += 1
    assert [b["south"] // 15 for b in about["by_latitude"]] == sorted(slow, reverse=True)
    for band in about["by_latitude"]:
        mine = slow[band["south"] // 15]
        assert band["tried"] == mine.total()
        assert {"fitted": band["fitted"], **band["reasons"]} == {"fitted": 0, **mine}
    tries = Counter(len(o.failed) + 1 for o in outcomes if o.attempt is not None)
    assert about["fitted_at"] == {str(k): tries[k] for k in sorted(tries)}


def test_sums_of_what_was_gathered(some: Some) -> None:
    made, outcomes, found = some
    about = of_gathered(made, found, PATCH)
    whole = [o for o in outcomes if o.attempt is not None]
    assert about["asked"] == 200
    assert about["whole"] == len(whole)
    assert about["open"] == 25
    assert about["absent"] == 200 - 25 - len(whole)
    assert about["bytes"] == {
        name: sum(o.sizes[name]["bytes"] for o in whole) for name in ("S1GRD", "S2L2A")
    }
    assert about["requests"] == sum(o.requests for o in outcomes)
    assert about["bytes_read"] == sum(o.bytes_read for o in outcomes)
    rules = Counter((s["properties"]["baseline"], s["why_offset"], s["offset"])
                    for o in whole for s in o.scenes["S2L2A"])  # fmt: skip
    told = {(s["baseline"], s["why_offset"], s["offset"]): s["scenes"]
            for s in about["scenes"] if s["modality"] == "S2L2A"}  # fmt: skip
    assert told == rules
    assert sum(about["zones"].values()) == len(whole)
    assert about["overlaps"]["patches"] == len(whole)
    assert about["trouble"]["locations"] == 2
    assert about["trouble"]["such_as"][0] == {"key": "0000198", "why": "a server <b>"}
    for o in whole:
        scene = o.scenes["S2L2A"][0]
        assert found.crs[o.location] == scene["crs"]
        assert [found.west[o.location], found.north[o.location]] == scene["transform"][2::3]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"locations": 2}, "has location 2 with key '0000002', and the plan none such among its 2"),
        ({"attempt": 99}, "has attempt 0 of location 0, and the plan"),
        ({"twice": True}, "has location 1 twice"),
    ],
)
def test_manifests_of_another_plan(wrong: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    made = fabricated.plan(3)
    made.attempt[:] = np.arange(4)
    failed = [{"attempt": 0, "reason": "cloud", "detail": ""}]
    known = [Outcome(i, made.key(i), None, failed=failed) for i in range(3)]
    if "twice" in wrong:
        known[2] = known[1]
    path = fabricated.manifest(tmp_path / "manifest.parquet", made, known)
    if "twice" in wrong:
        fabricated.rewritten(path, [0, 1, 1])
    if "locations" in wrong:
        made = fabricated.plan(wrong["locations"])
    if "attempt" in wrong:
        made.attempt[:, 0] = wrong["attempt"]
    with pytest.raises(ValueError, match=re.escape(sentence)):
        collected(made, path)


def test_files_that_are_no_manifest(tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    with pytest.raises(FileNotFoundError):
        collected(fabricated.plan(2), path)
    path.write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="expected a manifest"):
        collected(fabricated.plan(2), path)
