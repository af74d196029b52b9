"""Headers and indexes that lie, with right checksums (C9)."""

import json
import math
import random
import time
import warnings
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload import SSL4EOS12, DataError
from fastload.storage import index_file
from fastload.storage.checksum import crc32
from fastload.storage.index import FILE, load, open_index
from fastload.storage.store import Local
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open

HOSTILE: list[Any] = [
    None, True, False, 0, 1, -1, 2, 3, 255, 2**16, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63),
    0.5, 1e308, -0.0, math.nan, math.inf, "", "NaN", "0", "x" * 300, "\0", "é\ud800", "|O", "<i8",
    "<M8[ns]", "<U4", "<f2", "|b1", "|V8", "<c16", "S0", "<U0", [], {}, [[]], [0], [1], [-1], [4],
    [4.0], [True, 3], ["4"], [None], [2**40], [1, 1], [4, 24, 24], [1, 24, 24], [4, 3, 24, 24],
    [10**9] * 3, {"id": "blosc"}, {"id": None}, {"id": []}, [{"id": "vlen-utf8"}], [{}], [3],
    "vlen-utf8", {"id": "zlib"}, {"units": 3}, "days since 1970-01-01", "days since 0000-00-00",
    "C", "F",
]  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where a part of nested JSON stands."""
    if path:
        yield path
    items: Any = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, part in items:
        yield from places(part, (*path, key))


def changed(headers: Any, rng: random.Random) -> Any:
    """Headers with a few parts replaced, dropped or doubled."""
    out = json.loads(json.dumps(headers))
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        *way, last = rng.choice(list(places(out)))
        inside = out
        for key in way:
            inside = inside[key]
        if rng.random() < 0.15 and isinstance(inside, dict):
            del inside[last]
        else:
            inside[last] = deepcopy(rng.choice(HOSTILE))
    return out


def described() -> dict[str, bytes]:
    """A small sample with an array of each kind."""
    mask = np.zeros((2, 6, 6), np.uint8)
    content = make.group(make.pixels(1, (2, 2, 6, 6)), cloud=mask, consolidated=False)
    store: dict[str, Any] = dict(content)
    group = make.zarr.open_group(store, mode="r+")
    group.create_dataset("file_id", data=np.array(["S2A_x", "S2B_y"]))
    group["time"].attrs["units"] = "nanoseconds since 1970-01-01"
    make.zarr.consolidate_metadata(store)
    return {name: bytes(value) for name, value in store.items()}


def attempt(root: Path) -> str:
    """Opens and reads all; the kind of refusal, which must be of the data."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ds = SSL4EOS12(root, progress=False)
            for i in range(len(ds)):
                ds[i]
    except DataError as error:
        return f"{error.shard}: {error.reason}"
    return ""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("consolidated", [True, False])
def test_c9_headers_that_lie(tmp_path: Path, consolidated: bool) -> None:
    """Refused as damaged data, soon, or they do no harm; nothing else is ever raised."""
    content = described()
    headers = json.loads(content[".zmetadata"])
    rng, refusals = random.Random(int(consolidated)), 0
    path = make.shard(tmp_path)
    for _ in range(250):
        lies = changed(headers, rng)
        sample = dict(content)
        if consolidated:
            sample[".zmetadata"] = json.dumps(lies).encode()
        else:
            del sample[".zmetadata"]
            named = lies.get("metadata")
            for name, header in named.items() if isinstance(named, dict) else ():
                sample[name] = json.dumps(header).encode()
        make.write_tar(path, {"0000001": make.zipped(sample)})
        start = time.monotonic()
        refusals += bool(attempt(tmp_path))
        assert time.monotonic() - start < 10, lies
    assert refusals > 60


@pytest.mark.timeout(60)
def test_c9_a_large_header_is_refused_at_once(tmp_path: Path) -> None:
    content = described()
    more = {f"a{i}/.zarray": {"shape": [1], "more": "x" * 100} for i in range(100_000)}
    headers = json.loads(content[".zmetadata"])
    headers["metadata"] |= more
    content[".zmetadata"] = json.dumps(headers).encode()
    assert len(content[".zmetadata"]) > 2**23
    make.write_tar(make.shard(tmp_path), {"1": make.zipped(content)})
    start = time.monotonic()
    assert "size field" in attempt(tmp_path)
    assert time.monotonic() - start < 5


@pytest.mark.timeout(60)
def test_c9_many_arrays_of_many_chunks(tmp_path: Path) -> None:
    content = described()
    headers = json.loads(content[".zmetadata"])
    array = headers["metadata"]["bands/.zarray"] | {
        "shape": [2, 1, 200, 200],
        "chunks": [1, 1, 2, 2],
    }
    headers["metadata"] |= {f"a{i}/.zarray": array for i in range(100)}
    content[".zmetadata"] = json.dumps(headers).encode()
    make.write_tar(make.shard(tmp_path), {"1": make.zipped(content)})
    start = time.monotonic()
    assert "chunks, more than" in attempt(tmp_path)
    assert time.monotonic() - start < 10


@pytest.mark.timeout(60)
def test_c9_a_sample_that_promises_too_much(tmp_path: Path) -> None:
    """1.9 GB of pixels in a few kilobytes are not believed; all fill value within reason is."""
    content = make.group(make.pixels(1, (2, 2, 6, 6)), consolidated=False)
    header = json.loads(content["bands/.zarray"])
    for shape, refused in (((2, 26, 4300, 4300), True), ((2, 26, 1100, 1100), False)):
        large = {"shape": shape, "chunks": (1, *shape[1:])}
        content["bands/.zarray"] = json.dumps(header | large).encode()
        few = {n: c for n, c in content.items() if not n.startswith("bands/") or "zarray" in n}
        make.write_tar(make.shard(tmp_path), {"1": make.zipped(few)})
        if refused:
            with pytest.raises(DataError, match="promise 1922960000 bytes of pixels, but 0 bytes"):
                open_index(Local(make.shard(tmp_path).parent))
        else:
            assert len(open_index(Local(make.shard(tmp_path).parent))) == 1


# --- indexes with right checksums ---


def rewritten(path: Path, change: Callable[[dict[str, Any], bytearray], Any]) -> None:
    """Change an index's header and columns, and mend every checksum."""
    data = path.read_bytes()
    length = int.from_bytes(data[8:16], "little")
    base = 20 + length
    header, body = json.loads(data[20:base]), bytearray(data[base:])
    change(header, body)
    columns = header.get("columns")
    for name, column in columns.items() if isinstance(columns, dict) else ():
        try:
            if name != "chunks":
                size = index_file.nbytes_of(column)
                column["crc"] = crc32(bytes(body[column["at"] : column["at"] + size]))
            elif "chunk_sums" in header:
                header["chunk_sums"] = chunk_sums(header, column, bytes(body))
        except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
            continue  # nothing can be mended
    text = json.dumps(header).encode()
    text += b" " * (-(20 + len(text)) % 64)
    head = len(text).to_bytes(8, "little") + crc32(text).to_bytes(4, "little")
    path.write_bytes(b"FASTLOAD" + head + text + body)


def chunk_sums(header: dict[str, Any], column: dict[str, Any], body: bytes) -> list[int]:
    firsts = header["columns"]["first"]
    first = np.frombuffer(body, "<i8", firsts["shape"][0], firsts["at"])
    ends = [*first.tolist(), column["shape"][0]]
    size, sums, row = index_file.dtype_of(column).itemsize, [], 0
    for shard in header["shards"]:
        start, stop = ends[row], ends[row + shard[3]]
        sums.append(crc32(body[column["at"] + start * size : column["at"] + stop * size]))
        row += shard[3]
    return sums


def column(header: dict[str, Any], body: bytearray, name: str) -> np.ndarray[Any, Any]:
    """A column of a header's, to be written to."""
    found = header["columns"][name]
    dtype, count = index_file.dtype_of(found), math.prod(found["shape"])
    return np.frombuffer(body, dtype, count, found["at"])


def poke(name: str, value: Any, at: int = 3, field: str = "") -> Callable[..., None]:
    def change(header: dict[str, Any], body: bytearray) -> None:
        target = column(header, body, name)
        (target[field] if field else target)[at] = value

    return change


def shard_field(number: int, value: Any) -> Callable[..., None]:
    def change(header: dict[str, Any], _: bytearray) -> None:
        header["shards"][1][number] = value

    return change


LIES = {
    "chunk beyond the file": poke("chunks", 2**40, field="offset"),
    "chunk far beyond": poke("chunks", 2**64 - 1, field="offset"),
    "chunk too long": poke("chunks", 2**32 - 1, field="stored"),
    "chunk of another file": poke("chunks", 1, field="file"),
    "chunk of no file": poke("chunks", 2**31, field="file"),
    "sample of another shard": poke("shard", 0),
    "sample of no shard": poke("shard", 7),
    "layout that is not there": poke("layout", 5),
    "first chunk of another": poke("first", 0),
    "first chunk before": poke("first", -4),
    "first chunk beyond": poke("first", 10**9),
    "more samples": shard_field(3, 4),
    "negative size": shard_field(1, -1),
    "largest too small": shard_field(4, 10),
    "no name": shard_field(0, None),
    "no version": shard_field(2, 3),
    "layout of nothing": lambda h, b: h.update(layouts=["{}"]),
    "layout of other chunks": lambda h, b: h.update(
        layouts=[h["layouts"][0].replace('"chunks": [1,', '"chunks": [2,')]
    ),
    "layout of more dates": lambda h, b: h.update(
        layouts=[h["layouts"][0].replace('"shape": [4,', '"shape": [9,')]
    ),
    "no layouts": lambda h, b: h.update(layouts=[]),
    "object keys": lambda h, b: h["columns"]["key"].update(dtype="|O"),
    "short column": lambda h, b: h["columns"]["lat"].update(shape=[5]),
    "deep column": lambda h, b: h["columns"]["lat"].update(shape=[6, 1]),
    "column beyond": lambda h, b: h["columns"]["lat"].update(at=10**9),
    "column before": lambda h, b: h["columns"]["lat"].update(at=-64),
    "negative shape": lambda h, b: h["columns"]["time"].update(shape=[6, -4]),
    "huge shape": lambda h, b: h["columns"]["extra/crs"].update(shape=[6, 2**62]),
    "no dates": lambda h, b: h["columns"]["time"].update(shape=[6, 2]),
    "no column": lambda h, b: h["columns"].pop("cloud"),
    "no sums": lambda h, b: h.pop("chunk_sums"),
    "no columns": lambda h, b: h.update(columns=[]),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_c9_an_index_that_lies_is_built_anew(tiny: Path, reopen: Open, lie: str) -> None:
    """No pixels of another sample, no byte that is not of a shard, no other error."""
    sound = reopen(tiny)
    expected = [sound.read("S2L1C", i) for i in range(6)]
    path = tiny / "train" / "S2L1C" / FILE
    rewritten(path, LIES[lie])
    with pytest.raises(ValueError, match=r".") as caught:
        load(path)
    assert "does not match its CRC-32" not in str(caught.value)
    with pytest.warns(UserWarning, match="is not a sound index"):
        again = reopen(tiny)
    for i, pixels in enumerate(expected):
        assert make.same(again.read("S2L1C", i), pixels)


def test_c9_mended_checksums_are_right(tiny: Path, reopen: Open) -> None:
    """What the test above writes is sound but for its lie."""
    reopen(tiny)
    path = tiny / "train" / "S2L1C" / FILE
    before = path.read_bytes()
    rewritten(path, lambda header, body: None)
    assert path.read_bytes() == before
    rewritten(path, poke("lon", 3.25))
    assert load(path).lon[3] == 3.25


@pytest.mark.timeout(120)
def test_c9_random_lies_of_an_index(tiny: Path, reopen: Open) -> None:
    reopen(tiny)
    path = tiny / "train" / "S2L1C" / FILE
    sound, rng = path.read_bytes(), random.Random(5)

    def lie(header: dict[str, Any], _: bytearray) -> None:
        other = changed(header, rng)
        header.clear()
        header.update(other)

    refused = 0
    for _ in range(250):
        path.write_bytes(sound)
        try:
            rewritten(path, lie)
            load(path)
        except ValueError:
            refused += 1
    assert refused > 100
