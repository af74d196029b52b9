from pathlib import Path

import numpy as np
import pytest

from fastload import SSL4EOS12, DataError, Radiometry, Recipe, View
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open

PAIR = ["S2L1C", "S1GRD"]


def two(root: Path, first: list[str], second: list[str], per_shard: int = 3) -> Path:
    make.write(root, ["S2L1C"], first, per_shard)
    return make.write(root, ["S1GRD"], second, 2)


def check(ds: SSL4EOS12, keys: list[str]) -> None:
    """Each item's modalities all belong to its key."""
    assert ds.keys.tolist() == keys
    assert len(ds) == len(keys)
    for i, key in enumerate(keys):
        item = ds[i]
        assert item["key"] == key
        for modality in ds.modalities:
            assert make.same(item[modality].numpy(), make.pixels(f"{modality} {int(key)}"))
        np.testing.assert_array_equal(item["time"], make.dates(int(key), make.T))


KEYS = list(make.KEYS)


def test_identical_keys_are_not_permuted(tmp_path: Path, reopen: Open) -> None:
    ds = reopen(two(tmp_path, KEYS, KEYS), modalities=PAIR)
    check(ds, KEYS)
    assert all(rows is None for rows in ds.rows.values())


def test_permuted_keys_follow_the_first(tmp_path: Path, reopen: Open) -> None:
    order = [KEYS[i] for i in (4, 0, 5, 1, 3, 2)]
    root = two(tmp_path, KEYS, order)
    check(reopen(root, modalities=PAIR), KEYS)
    check(reopen(root, modalities=PAIR[::-1]), order)


def test_keys_of_different_length(tmp_path: Path, reopen: Open) -> None:
    keys = ["1", "0000000000002", "33"]
    check(reopen(two(tmp_path, keys, keys[::-1]), modalities=PAIR), keys)


def test_place_and_shard_follow_the_first(tmp_path: Path, reopen: Open) -> None:
    def placed(i: int, modality: str) -> bytes:
        return make.sample(i, modality, lon=float(i), lat=-float(i))

    make.write(tmp_path, ["S2L1C"], KEYS, 3, placed)
    make.write(tmp_path, ["S1GRD"], KEYS[::-1], 2, placed)
    ds = reopen(tmp_path, modalities=PAIR[::-1])
    np.testing.assert_array_equal(ds.lon, [5, 4, 3, 2, 1, 0])
    np.testing.assert_array_equal(ds.lat, [-5, -4, -3, -2, -1, 0])
    np.testing.assert_array_equal(ds.group, [0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (KEYS, KEYS[:4], ["S1GRD lacks 2 of 6 keys, such as 0000004, 0000005"]),
        (KEYS[1:], KEYS, ["S2L1C lacks 1 of 6 keys, such as 0000000"]),
        (
            KEYS[:4],
            KEYS[2:],
            [
                "S2L1C lacks 2 of 6 keys, such as 0000004",
                "S1GRD lacks 2 of 6 keys, such as 0000000",
            ],
        ),
        (KEYS[:3], KEYS[3:], ["S2L1C lacks 3 of 6", "S1GRD lacks 3 of 6"]),
        ([*KEYS[:5], "0000008"], [*KEYS[:5], "0000009"], ["S2L1C lacks 1 of 7", "0000009"]),
    ],
)
def test_missing_keys_are_named(
    tmp_path: Path, reopen: Open, first: list[str], second: list[str], words: list[str]
) -> None:
    root = two(tmp_path, first, second)
    with pytest.raises(ValueError, match="do not hold the same keys") as caught:
        reopen(root, modalities=PAIR)
    for word in words:
        assert word in str(caught.value)
    assert "missing='drop'" in str(caught.value)


def test_missing_keys_are_dropped_and_counted(
    tmp_path: Path, reopen: Open, capsys: pytest.CaptureFixture[str]
) -> None:
    root = two(tmp_path, KEYS[:5], [KEYS[i] for i in (5, 3, 1, 4)])
    ds = reopen(root, modalities=PAIR, missing="drop")
    check(ds, [KEYS[i] for i in (1, 3, 4)])
    said = capsys.readouterr().out
    assert "3 keys dropped" in said
    assert "S2L1C lacks 1 of 6 keys, such as 0000005" in said
    assert "S1GRD lacks 2 of 6 keys, such as 0000000, 0000002" in said


def test_three_modalities(tmp_path: Path, reopen: Open) -> None:
    make.write(tmp_path, ["DEM"], KEYS[1:])
    root = two(tmp_path, KEYS, KEYS[::-1])
    check(reopen(root, modalities=[*PAIR, "DEM"], missing="drop"), KEYS[1:])


def test_no_common_key(tmp_path: Path, reopen: Open) -> None:
    root = two(tmp_path, KEYS[:3], KEYS[3:])
    with pytest.raises(ValueError, match="no key is in all modalities"):
        reopen(root, modalities=PAIR, missing="drop")


def test_a_missing_tar_of_one_modality(tmp_path: Path, reopen: Open) -> None:
    root = two(tmp_path, KEYS, KEYS)
    make.shard(root, "S1GRD", 3).unlink()
    with pytest.raises(ValueError, match="S1GRD lacks 2 of 6 keys, such as 0000004, 0000005"):
        reopen(root, modalities=PAIR)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"modalities": [3]}, "modalities must be a list"),
        ({"modalities": []}, "modalities must be a list"),
        ({"modalities": ["S2L1C", "S2L1C"]}, "modalities must differ"),
        ({"missing": "ignore"}, "missing must be"),
        ({"statistics": "v2"}, "unknown statistics 'v2'"),
    ],
)
def test_arguments_that_do_not_fit(
    tiny: Path, reopen: Open, options: dict[str, object], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        reopen(tiny, **options)


# --- modalities that differ in shape ---

CROP = Recipe((View(size=16),), Radiometry.quantile(0.0, 1000.0))
ALL = Recipe((View(size=16, timestamp="all"),), Radiometry.quantile(0.0, 1000.0))


def of_shape(root: Path, modality: str, *shape: int) -> None:
    for_key = {
        key: make.zipped(make.group(make.pixels(f"{modality} {key}", shape), number=int(key)))
        for key in KEYS
    }
    make.write_tar(make.shard(root, modality), for_key)


def test_a_single_timestamp_serves_any_date(tiny: Path, reopen: Open) -> None:
    of_shape(tiny, "DEM", 1, 1, 24, 24)
    ds = reopen(tiny, modalities=["S2L1C", "DEM"], recipe=CROP)
    for i in range(len(ds)):
        assert ds[i]["DEM"][0].shape == (1, 16, 16)
    series = reopen(tiny, modalities=["S2L1C", "DEM"], recipe=ALL)[0]
    assert series["S2L1C"][0].shape == (4, 3, 16, 16)
    assert series["DEM"][0].shape == (1, 1, 16, 16)


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_views_refuse_other_numbers_of_timestamps(tiny: Path, reopen: Open, steps: int) -> None:
    """A date drawn for the first modality would be another sample's chunk in the second."""
    of_shape(tiny, "S1GRD", steps, 2, 24, 24)
    with pytest.raises(ValueError, match="must have one timestamp or as many as the first"):
        reopen(tiny, modalities=PAIR, recipe=CROP)
    raw = reopen(tiny, modalities=PAIR)[0]
    assert raw["S1GRD"].shape == (steps, 2, 24, 24)


def test_views_refuse_other_sizes(tiny: Path, reopen: Open) -> None:
    of_shape(tiny, "S1GRD", 4, 2, 20, 24)
    with pytest.raises(ValueError, match="must agree in size"):
        reopen(tiny, modalities=PAIR, recipe=CROP)
    assert reopen(tiny, modalities=PAIR)[0]["S1GRD"].shape == (4, 2, 20, 24)


def test_a_damaged_modality_is_named(tmp_path: Path, reopen: Open) -> None:
    root = two(tmp_path, KEYS, KEYS)
    path = make.shard(root, "S1GRD", 2)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError) as caught:
        reopen(root, modalities=PAIR)
    assert caught.value.shard == str(path)
