"""Dates in their units, and what is unknown (A9)."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastload import SSL4EOS12, DataError, DataLoader
from fastload.seasons import season
from fastload.storage.dates import NO_TIME, to_ns
from tests.fastload import shardmaker as make

TIMES = make.dates(0, make.T)
DAYS = (TIMES // make.DAY).tolist()


def sample(
    time: Any,
    attributes: dict[str, Any] | None = None,
    consolidated: bool = True,
    **options: Any,
) -> bytes:
    """A sample with `time` in place of its dates; None for none."""
    absent = options.pop("absent", ())
    content = make.group(make.pixels(1), consolidated=False, **options)
    store: dict[str, Any] = {n: c for n, c in content.items() if not n.startswith("time/")}
    if time is not None:
        array = make.zarr.open_group(store, mode="r+").create_dataset("time", data=time)
        array.attrs.update(attributes or {})
    if consolidated:
        make.zarr.consolidate_metadata(store)
    return make.zipped({n: bytes(c) for n, c in store.items() if n not in absent})


def opened(root: Path, content: bytes) -> SSL4EOS12:
    make.write_tar(make.shard(root), {"0000001": content})
    return SSL4EOS12(root, progress=False)


def times(root: Path, content: bytes) -> NDArray[np.int64]:
    return opened(root, content).times(0)


@pytest.mark.parametrize("consolidated", [True, False])
@pytest.mark.parametrize(
    ("values", "units"),
    [
        (np.array(DAYS), "days since 1970-01-01"),
        (np.array(DAYS, "f8"), "days since 1970-01-01 00:00:00"),
        (np.array(DAYS, "i4") - 18000, "days since 2019-04-14"),
        (np.array(DAYS) * 24 - 5, "hours since 1970-01-01T05:00:00Z"),
        (np.array(DAYS) * 86400, "seconds since 1970-01-01"),
        (np.array(DAYS) * 86400 - 1, "seconds since 1970-01-01 00:00:01.000000+00:00"),
        (np.array(DAYS) * 1440, "minutes since 1970-1-1"),
        (np.array(DAYS) * 86_400_000, "milliseconds since 1970-01-01"),
        (TIMES // 1000, "microseconds since 1970-01-01"),
        (TIMES, "nanoseconds since 1970-01-01"),
        (TIMES, None),
    ],
)
def test_a9_units_as_xarray_writes_them(
    tmp_path: Path, values: NDArray[Any], units: str | None, consolidated: bool
) -> None:
    attributes = {} if units is None else {"units": units, "calendar": "proleptic_gregorian"}
    content = sample(values, attributes, consolidated)
    np.testing.assert_array_equal(times(tmp_path, content), TIMES)


@pytest.mark.parametrize("unit", ["D", "h", "m", "s", "ms", "us", "ns"])
@pytest.mark.parametrize("order", "<>")
def test_a9_datetime_dtypes(tmp_path: Path, unit: str, order: str) -> None:
    values = TIMES.astype("M8[ns]").astype(f"{order}M8[{unit}]")
    np.testing.assert_array_equal(times(tmp_path, sample(values)), TIMES)


@pytest.mark.parametrize(
    "attributes",
    [
        {"units": "months since 1970-01-01"},
        {"units": "days since yesterday"},
        {"units": "days since 2020-13-01"},
        {"units": "days since 1970-01-01 00:00 +05:30"},
        {"units": "days"},
        {"units": 3},
        {"units": "days since 1970-01-01", "calendar": "noleap"},
        {"units": "days since 1970-01-01", "calendar": ["standard"]},
        {"units": "seconds since 2261-01-01"},
    ],
)
def test_a9_units_that_are_refused(tmp_path: Path, attributes: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        opened(tmp_path, sample(np.array(DAYS) * 86400, attributes))
    assert caught.value.member == "0000001.zarr.zip"
    assert "time" in caught.value.reason


NAT = np.array([DAYS[0], np.iinfo("i8").min, DAYS[2], DAYS[3]])


@pytest.mark.parametrize(
    ("values", "attributes"),
    [
        (np.array(["2020-01-05", "NaT", "2020-07-05", "2020-10-04"], "M8[ns]"), {}),
        (np.array([TIMES[0], 0, TIMES[2], TIMES[3]]), {}),
        (np.array([TIMES[0], -make.DAY, TIMES[2], TIMES[3]]), {}),
        (NAT, {"units": "days since 1970-01-01"}),
        (np.array([DAYS[0], np.nan, DAYS[2], DAYS[3]]), {"units": "days since 1970-01-01"}),
        (np.array([DAYS[0], -9999, DAYS[2], DAYS[3]]), {"units": "days since 1970-01-01"}),
        (np.array([DAYS[0], 9999, DAYS[2], DAYS[3]]),
         {"units": "days since 1970-01-01", "_FillValue": 9999}),
    ],
)  # fmt: skip
def test_a9_an_unknown_date_has_no_season(
    tmp_path: Path, values: NDArray[Any], attributes: dict[str, Any]
) -> None:
    ds = opened(tmp_path, sample(values, attributes))
    expected = TIMES.copy()
    expected[1] = NO_TIME
    np.testing.assert_array_equal(ds.times(0), expected)
    (batch,) = DataLoader(ds, 1)
    assert batch["season"].tolist() == [[0, -1, 2, 3]]
    assert batch["time"].tolist() == [expected.tolist()]


@pytest.mark.parametrize("time", [None, np.zeros(make.T, "i8")], ids=["absent", "DEM's 0"])
@pytest.mark.parametrize("lat", [50.0, -20.0])
def test_a9_no_dates_no_seasons(tmp_path: Path, time: Any, lat: float) -> None:
    ds = opened(tmp_path, sample(time, lat=lat))
    assert ds.times(0).tolist() == [NO_TIME] * make.T
    assert ds[0]["season"].tolist() == [-1] * make.T


def test_a9_dates_that_were_never_written(tmp_path: Path) -> None:
    assert times(tmp_path, sample(TIMES, absent=["time/0"])).tolist() == [NO_TIME] * make.T


@pytest.mark.parametrize("name", ["lon", "lat"])
def test_a9_an_absent_place_is_not_0(tmp_path: Path, name: str) -> None:
    """Neither where the array is absent nor where its chunk is."""
    whole = make.group(make.pixels(1), consolidated=False)
    for missing in ([f"center_{name}/0"], [n for n in whole if n.startswith(f"center_{name}")]):
        content = {n: c for n, c in whole.items() if n not in missing}
        ds = opened(tmp_path, make.zipped(content))
        assert np.isnan(getattr(ds, name)[0])
        assert not np.isnan(getattr(ds, {"lon": "lat", "lat": "lon"}[name])[0])


def test_season_of_an_unknown_date() -> None:
    assert season([NO_TIME, TIMES[0]], lat=-20.0).tolist() == [-1, 2]
    assert season([[NO_TIME, TIMES[0]]], lat=[[50.0]]).tolist() == [[-1, 0]]


def test_dates_are_exact() -> None:
    """Integers of any unit are converted without rounding."""
    values = np.array([1_577_836_800_123_456_789 - 7])
    found = to_ns(values, {"units": "nanoseconds since 1970-01-01 00:00:00.000000007"})
    assert found.tolist() == [1_577_836_800_123_456_789]


def test_texts_of_any_length(tmp_path: Path) -> None:
    """Band names as Python strings: dtype |O and the filter vlen-utf8."""
    import numcodecs

    for codec in (make.LZ4, numcodecs.Zstd(1), numcodecs.Zlib(1), None):
        content = make.group(make.pixels(1), consolidated=False)
        store: dict[str, Any] = {n: c for n, c in content.items() if not n.startswith("band/")}
        group = make.zarr.open_group(store, mode="r+")
        names = np.array(["B02", "", "Grün"], object)
        options = {"compressor": codec, "object_codec": numcodecs.VLenUTF8()}
        group.create_dataset("band", data=names, **options)
        ds = opened(tmp_path, make.zipped({n: bytes(c) for n, c in store.items()}))
        assert ds.modalities["S2L1C"].band_names == ("B02", "", "Grün")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "expected 3 texts"),
        (b"\xff\xff\xff\xff", "expected 3 texts, found 4294967295"),
        (b"\3\0\0\0\1\0\0\0a", "text 1 reaches beyond"),
        (b"\3\0\0\0\xff\xff\xff\x7fa", "text 0 reaches beyond"),
        (b"\3\0\0\0" + b"\1\0\0\0\xff" * 3, "utf-8"),
    ],
)
def test_texts_that_are_damaged(tmp_path: Path, data: bytes, words: str) -> None:
    content = make.group(make.pixels(1), consolidated=False)
    header = json.loads(content["band/.zarray"])
    header |= {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "compressor": None}
    header["fill_value"] = ""
    content |= {"band/.zarray": json.dumps(header).encode(), "band/0": data}
    with pytest.raises(DataError, match=words) as caught:
        opened(tmp_path, make.zipped(content))
    assert caught.value.member.startswith("0000001.zarr.zip")
