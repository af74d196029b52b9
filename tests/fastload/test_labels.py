"""Labels joined by key, from every kind of source."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload import SSL4EOS12, DataLoader
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import assert_same

KEYS = make.KEYS
WHOLE = {k: 10 + i for i, k in enumerate(KEYS)}
ROWS = {
    k: {"label": 10 + i, "share": i / 8, "name": f"c{i}", "urban": i % 2 == 0}
    for i, k in enumerate(KEYS)
}
SHUFFLED = [KEYS[i] for i in (3, 0, 5, 1, 4, 2)]


def csv(path: Path, rows: dict[str, dict[str, Any]], key: str = "key") -> Path:
    names = list(next(iter(rows.values())))
    lines = [",".join([key, *names])]
    lines += [",".join([k, *(str(rows[k][n]) for n in names)]) for k in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def frame(rows: dict[str, dict[str, Any]], key: str = "key") -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame([{key: k, **values} for k, values in rows.items()])


def source(kind: str, path: Path, rows: dict[str, dict[str, Any]], key: str = "key") -> Any:
    """Labels as a source of some kind."""
    if kind == "csv":
        return csv(path / "labels.csv", rows, key)
    if kind == "mapping":
        return rows
    made = frame(rows, key)
    if kind == "parquet":
        pytest.importorskip("pyarrow")
        made.to_parquet(path / "labels.parquet")
        return str(path / "labels.parquet")
    return made.set_index(key) if kind == "indexed frame" else made


KINDS = ["csv", "parquet", "frame", "indexed frame", "mapping"]


@pytest.mark.parametrize("kind", KINDS)
def test_labels_follow_their_keys(tmp_path: Path, tiny: Path, reopen: Open, kind: str) -> None:
    """In the order of the samples, whatever that of the source; rows of other keys are nothing."""
    rows = {k: ROWS[k] for k in SHUFFLED} | {"0000099": ROWS[KEYS[0]] | {"label": 99}}
    plain = reopen(tiny)
    ds = plain.with_labels(source(kind, tmp_path, rows))
    assert type(ds) is SSL4EOS12
    assert plain.extras == {}
    for i, key in enumerate(KEYS):
        item = ds[i]
        assert (item["key"], {n: item[n] for n in ROWS[key]}) == (key, ROWS[key])
    (batch,) = DataLoader(ds, 6, shuffle=True, seed=4)
    assert batch["label"].tolist() == (batch["index"] + 10).tolist()
    assert (batch["label"].dtype, batch["share"].dtype) == (torch.int64, torch.float64)
    assert batch["urban"].dtype == torch.bool
    assert batch["name"] == [f"c{i}" for i in batch["index"].tolist()]


@pytest.mark.parametrize("kind", KINDS[:4])
def test_columns_and_key_may_be_named(tmp_path: Path, tiny: Path, reopen: Open, kind: str) -> None:
    made = source(kind, tmp_path, ROWS, "patch")
    ds = reopen(tiny).with_labels(made, key="patch", columns=["name"])
    assert list(ds.extras) == ["name"]
    with pytest.raises(ValueError, match=r"there is no column 'key', only .*'name'"):
        reopen(tiny).with_labels(made)
    with pytest.raises(ValueError, match="there is no column 'clas'"):
        reopen(tiny).with_labels(made, key="patch", columns=["clas"])


def test_a_plain_mapping(tiny: Path, reopen: Open) -> None:
    assert reopen(tiny).with_labels(WHOLE)[2]["label"] == 12
    numbers = {k: np.int16(v) for k, v in WHOLE.items()}
    assert reopen(tiny).with_labels(numbers, columns=["class"])[2]["class"] == 12
    with pytest.raises(ValueError, match="has one label a key, expected one name"):
        reopen(tiny).with_labels(WHOLE, columns=["a", "b"])


@pytest.mark.parametrize("kind", KINDS)
def test_keys_without_a_label_are_counted_and_named(
    tmp_path: Path, tiny: Path, reopen: Open, kind: str
) -> None:
    """Absent, or there without a value."""
    rows = {k: dict(ROWS[k]) for k in KEYS[1:]}
    rows[KEYS[4]]["share"] = "" if kind == "csv" else float("nan")
    ds, made = reopen(tiny), source(kind, tmp_path, rows)
    words = "2 of 6 keys have no label, such as 0000000, 0000004; its keys are such as 0000001"
    with pytest.raises(ValueError, match=words):
        ds.with_labels(made)
    ds.with_labels(rows | {KEYS[0]: ROWS[KEYS[0]]}, columns=["label"])  # its share is not asked for


@pytest.mark.parametrize("kind", KINDS)
def test_samples_without_a_label_are_dropped(
    tmp_path: Path, tiny: Path, reopen: Open, kind: str
) -> None:
    """The rest is a dataset as any other: pixels, dates, fingerprint, another join."""
    rows = {k: ROWS[k] for k in SHUFFLED if k not in (KEYS[0], KEYS[4])}
    ds = reopen(tiny)
    fingerprint = ds.fingerprint
    some = ds.with_labels(source(kind, tmp_path, rows), missing="drop")
    assert (len(some), len(ds), ds.fingerprint) == (4, 6, fingerprint)
    assert some.fingerprint != fingerprint
    left = [i for i in range(6) if KEYS[i] in rows]
    (batch,) = DataLoader(some, 4)
    assert batch["key"] == [KEYS[i] for i in left]
    for at, i in enumerate(left):
        assert make.same(batch["S2L1C"][at].numpy(), make.pixels(f"S2L1C {i}"))
        assert batch["time"][at].tolist() == make.dates(i, make.T).tolist()
        assert_same(some[at]["label"], 10 + i)
    again = some.with_labels({KEYS[2]: "x"}, columns=["other"], missing="drop")
    assert [(s["key"], s["label"], s["other"]) for s in again] == [(KEYS[2], 12, "x")]
    with pytest.raises(ValueError, match="6 of 6 keys have no label"):
        ds.with_labels({"1": 3}, missing="drop")


def test_gaps_may_be_filled(tiny: Path, reopen: Open) -> None:
    some = {k: {n: ROWS[k][n] for n in ("label", "share", "name")} for k in KEYS[1:]}
    ds = reopen(tiny).with_labels(some, missing="fill")
    item = ds[0]
    assert (item["label"], item["name"]) == (-1, "")
    assert np.isnan(item["share"])
    assert (ds[1]["label"], ds[1]["name"]) == (11, "c1")


@pytest.mark.parametrize("value", [-1, ""])
def test_a_label_is_not_taken_for_a_gap(tiny: Path, reopen: Open, value: Any) -> None:
    labels = {k: type(value)(7) for k in KEYS[2:]} | {KEYS[1]: value}
    with pytest.raises(ValueError, match="which marks those that are missing"):
        reopen(tiny).with_labels(labels, missing="fill")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (dict.fromkeys(KEYS, (1, 2)), "must be all numbers, all text, or all bool.*tuple"),
        ({k: i if i else "a" for i, k in enumerate(KEYS)}, r"all text, .*\['int', 'str'\]"),
        ({k: i if i else True for i, k in enumerate(KEYS)}, r"\['bool', 'int'\]"),
        (dict.fromkeys(KEYS, 2**64), "column 'label'"),
        (dict.fromkeys(range(6), 1), "keys must be text such as '0000001', but column 'key' has 0"),
        ({k: {} for k in KEYS}, "there is no label"),
        (3, "must be a csv or parquet file, a data frame or a mapping"),
        ("labels.txt", r"must be a \.csv or \.parquet file"),
        ({k: {"time": 1} for k in KEYS}, "column 'time': a batch has an entry of this name"),
        ({k: {"S2L1C": 1} for k in KEYS}, "column 'S2L1C': a batch has an entry of this name"),
    ],
    ids=str,
)
def test_labels_that_do_not_fit(tiny: Path, reopen: Open, labels: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        reopen(tiny).with_labels(labels)


def test_arguments_that_do_not_fit(tiny: Path, reopen: Open) -> None:
    ds = reopen(tiny).with_labels(WHOLE)
    with pytest.raises(ValueError, match="column 'label': a batch has an entry of this name"):
        ds.with_labels(WHOLE)
    with pytest.raises(ValueError, match="missing must be one of"):
        ds.with_labels(WHOLE, missing="skip")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="columns must be a list of names"):
        ds.with_labels(WHOLE, columns="label")


def test_a_bool_has_no_mark_for_gaps(tiny: Path, reopen: Open) -> None:
    with pytest.raises(ValueError, match="all bool without gaps"):
        reopen(tiny).with_labels(dict.fromkeys(KEYS[1:], True), missing="fill")


@pytest.mark.parametrize("kind", ["csv", "frame", "parquet"])
def test_a_key_stands_once(tmp_path: Path, tiny: Path, reopen: Open, kind: str) -> None:
    pandas = pytest.importorskip("pandas")
    twice = pandas.DataFrame({"key": [*KEYS, KEYS[2]], "label": range(7)})
    made: Any = twice
    if kind != "frame":
        made = tmp_path / f"labels.{kind}"
        getattr(twice, f"to_{kind}")(made, index=False)
    with pytest.raises(ValueError, match="key '0000002' stands there more than once"):
        reopen(tiny).with_labels(made)


def test_a_frame_whose_keys_became_numbers(tmp_path: Path, tiny: Path, reopen: Open) -> None:
    """As pandas reads '0000001' from a csv unless told otherwise."""
    pandas = pytest.importorskip("pandas")
    path = csv(tmp_path / "labels.csv", ROWS)
    with pytest.raises(ValueError, match=r"keys must be text .* but column 'key' has 0"):
        reopen(tiny).with_labels(pandas.read_csv(path))
    ds = reopen(tiny).with_labels(pandas.read_csv(path, dtype={"key": str}))
    assert ds[5]["label"] == 15


# --- csv ---


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["1", "-2", "+3"], [1, -2, 3]),
        (["1", "2.5", "1e3"], [1.0, 2.5, 1000.0]),
        (["001", "002", "3"], ["001", "002", "3"]),
        (["1_0", "2", "3"], ["1_0", "2", "3"]),
        (["True", "false", "TRUE"], [True, False, True]),
        (["a", "1", "true"], ["a", "1", "true"]),
    ],
)
def test_what_the_cells_of_a_csv_are(
    tmp_path: Path, cells: list[str], expected: list[Any], tiny: Path, reopen: Open
) -> None:
    """Numbers where all cells are, and never where a leading zero would be lost."""
    path = tmp_path / "labels.csv"
    path.write_text("key,x\n" + "".join(f"{k},{c}\n" for k, c in zip(KEYS, cells * 2, strict=True)))
    ds = reopen(tiny).with_labels(path)
    found = [s["x"] for s in ds][:3]
    assert found == expected
    assert [type(x) for x in found] == [type(x) for x in expected]


def test_a_csv_of_quotes_and_a_byte_order_mark(tmp_path: Path, tiny: Path, reopen: Open) -> None:
    path = tmp_path / "labels.csv"
    rows = "".join(f'"{k}","a, ""b"" ö"\r\n' for k in KEYS)
    path.write_text("key,name\r\n" + rows + "\r\n", encoding="utf-8-sig")
    assert reopen(tiny).with_labels(path)[3]["name"] == 'a, "b" ö'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("key,x\n0000000,1\n0000001\n", "row 2 has 1 cells, expected 2 as the header"),
        ("", r"there is no column 'key', only \[\]"),
        ("key\n0000000\n", "there is no label, only"),
    ],
)
def test_a_csv_that_does_not_fit(
    tmp_path: Path, tiny: Path, reopen: Open, text: str, words: str
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=words) as caught:
        reopen(tiny).with_labels(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["labels.csv", "labels.parquet"])
def test_a_file_that_is_not_there(tmp_path: Path, tiny: Path, reopen: Open, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        reopen(tiny).with_labels(tmp_path / name)


def test_parquet_without_pyarrow(
    tmp_path: Path, tiny: Path, reopen: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"need pyarrow: pip install 'fastload-eo\[labels\]'"):
        reopen(tiny).with_labels(tmp_path / "labels.parquet")
