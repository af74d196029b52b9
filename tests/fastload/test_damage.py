import io
import json
import multiprocessing
import os
import resource
import struct
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numcodecs import Blosc, Zlib, Zstd

from fastload import SSL4EOS12, DataError, DataLoader, Radiometry, Recipe, View
from tests.fastload import shardmaker as make
from tests.fastload.conftest import Open
from tests.fastload.made import chunks

FORK = multiprocessing.get_context("fork")
RECIPE = Recipe(
    (View(size=16, timestamp=1, hflip=0.5), View(size=16, timestamp="all")),
    Radiometry.quantile(0.0, 1000.0),
)
VICTIM = 4
"""The sample that is damaged: the second of the second shard."""


def keeping_times(path: Path, change: Callable[[bytearray], Any]) -> None:
    """Change a file behind the index's back: neither size nor modification time tell."""
    before = path.stat()
    data = bytearray(path.read_bytes())
    change(data)
    path.write_bytes(bytes(data))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def chunk(ds: SSL4EOS12, timestamp: int = 1, sample: int = VICTIM) -> np.void:
    return chunks(ds, sample, timestamps=[timestamp])[0]


# --- one damaged chunk, on every path ---


def flip_payload(data: bytearray, at: int) -> None:
    data[at + 60] ^= 0x10


def flip_header(data: bytearray, at: int) -> None:
    data[at] ^= 0x10


def wrong_size(data: bytearray, at: int) -> None:
    """The Blosc header promises a byte more."""
    data[at + 4 : at + 8] = struct.pack("<I", struct.unpack("<I", data[at + 4 : at + 8])[0] + 1)


def huge_size(data: bytearray, at: int) -> None:
    data[at + 4 : at + 8] = b"\xff\xff\xff\x7f"


DAMAGES = {f.__name__: f for f in (flip_payload, flip_header, wrong_size, huge_size)}
REASONS = {
    "flip_header": "Blosc version must be 1 or 2, found 18",
    "wrong_size": "Blosc nbytes must be 3456, found 3457",
    "huge_size": "Blosc nbytes must be 3456, found 2147483647",
}


@pytest.fixture(params=DAMAGES)
def damaged(request: pytest.FixtureRequest, tiny: Path, reopen: Open) -> Path:
    """A dataset with one damaged chunk: timestamp 1 of the victim."""
    place = chunk(reopen(tiny))
    change = DAMAGES[request.param]
    keeping_times(make.shard(tiny, number=2), lambda data: change(data, int(place["offset"])))
    return tiny


def check_error(error: DataError, root: Path, ds: SSL4EOS12) -> None:
    assert error.shard == str(make.shard(root, number=2))
    assert error.member == f"{VICTIM:07d}.zarr.zip/bands/1.0.0.0"
    assert error.offset == chunk(ds)["offset"]
    assert error.reason
    for part in (error.shard, error.member, f"byte {error.offset}", error.reason):
        assert part in str(error)


@pytest.mark.parametrize("recipe", [None, RECIPE], ids=["raw", "recipe"])
def test_an_item_names_the_damage(damaged: Path, reopen: Open, recipe: Recipe | None) -> None:
    ds = reopen(damaged, recipe=recipe)
    with pytest.raises(DataError) as caught:
        ds[VICTIM]
    check_error(caught.value, damaged, ds)
    for i in set(range(len(ds))) - {VICTIM}:
        assert ds[i]["key"] == make.KEYS[i]
    np.testing.assert_array_equal(
        ds.read("S2L1C", VICTIM, [0, 2, 3]), make.pixels(f"S2L1C {VICTIM}")[[0, 2, 3]]
    )


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("recipe", [None, RECIPE], ids=["raw", "recipe"])
def test_a_loader_names_the_damage(
    damaged: Path, reopen: Open, tmp_path: Path, engine: Any, workers: int, recipe: Recipe | None
) -> None:
    ds = reopen(damaged, recipe=recipe)
    report = tmp_path / "report.jsonl"
    loader = DataLoader(ds, batch_size=2, num_workers=workers, engine=engine, error_report=report)
    batches = iter(loader)
    assert [next(batches)["key"] for _ in range(2)] == [[*make.KEYS[:2]], [*make.KEYS[2:4]]]
    with pytest.raises(DataError) as caught:
        next(batches)
    check_error(caught.value, damaged, ds)
    stats = loader.stats()
    assert (stats["errors"], stats["replaced"]) == (1, 0)
    (line,) = map(json.loads, report.read_text().splitlines())
    assert line["replaced_by"] is None
    assert line["shard"] == caught.value.shard


@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("recipe", [None, RECIPE], ids=["raw", "recipe"])
def test_a_loader_replaces_the_sample(
    damaged: Path, reopen: Open, tmp_path: Path, engine: Any, workers: int, recipe: Recipe | None
) -> None:
    ds = reopen(damaged, recipe=recipe)
    report = tmp_path / "report.jsonl"
    loader = DataLoader(
        ds,
        batch_size=3,
        num_workers=workers,
        engine=engine,
        on_error="replace",
        error_report=report,
    )
    batches = list(loader)
    keys = [k for b in batches for k in b["key"]]
    substitute = int(keys[VICTIM])
    assert substitute != VICTIM
    assert keys == [k if i != VICTIM else f"{substitute:07d}" for i, k in enumerate(make.KEYS)]
    assert [int(i) for b in batches for i in b["index"]] == [int(k) for k in keys]
    second = batches[1]
    for slot in range(3):
        truth = ds[int(second["index"][slot])]
        got = second["S2L1C"]
        views = [(got, truth["S2L1C"])] if recipe is None else zip(got, truth["S2L1C"], strict=True)
        for mine, expected in views:
            np.testing.assert_allclose(mine[slot], expected, atol=1e-5)
    stats = loader.stats()
    assert (stats["errors"], stats["replaced"]) == (1, 1)
    assert stats["error_report"] == str(report)
    (line,) = map(json.loads, report.read_text().splitlines())
    with pytest.raises(DataError) as caught:
        ds[VICTIM]
    assert line | {"when": ""} == {
        "when": "",
        "epoch": 0,
        "index": VICTIM,
        "shard": caught.value.shard,
        "member": caught.value.member,
        "offset": caught.value.offset,
        "reason": caught.value.reason,
        "replaced_by": substitute,
    }


@pytest.mark.timeout(60)
def test_engines_choose_the_same_substitute(damaged: Path, reopen: Open, tmp_path: Path) -> None:
    pytest.importorskip("nvidia.dali")
    found = []
    for engine, workers in (("threads", 0), ("threads", 2), ("dali", 2)):
        loader = DataLoader(
            reopen(damaged, recipe=RECIPE),
            batch_size=6,
            num_workers=workers,
            engine=engine,  # type: ignore[arg-type]
            seed=5,
            shuffle=True,
            on_error="replace",
            error_report=tmp_path / f"{engine}{workers}.jsonl",
        )
        (batch,) = loader
        found.append((batch["key"], [v.numpy().tobytes() for v in batch["S2L1C"]]))
    assert found[0] == found[1] == found[2]


@pytest.mark.timeout(60)
def test_nothing_sound_to_replace_by(tiny: Path, reopen: Open, tmp_path: Path, engine: Any) -> None:
    ds = reopen(tiny)
    for number in (1, 2):
        samples = [i for i in range(len(ds)) if ds.group[i] == number - 1]
        places = [int(chunk(ds, t, i)["offset"]) for i in samples for t in range(make.T)]
        keeping_times(
            make.shard(tiny, number=number),
            lambda data, places=places: [flip_payload(data, at) for at in places],
        )
    loader = DataLoader(
        reopen(tiny), 2, num_workers=2, engine=engine, on_error="replace",
        error_report=tmp_path / "report.jsonl",
    )  # fmt: skip
    with pytest.raises(DataError, match="CRC-32"):
        next(iter(loader))
    assert loader.stats()["replaced"] == 0


@pytest.mark.timeout(60)
@pytest.mark.parametrize("damage", REASONS)
def test_without_checksums_the_header_still_counts(
    tiny: Path, reopen: Open, tmp_path: Path, damage: str, engine: Any
) -> None:
    place = chunk(reopen(tiny))
    keeping_times(
        make.shard(tiny, number=2), lambda data: DAMAGES[damage](data, int(place["offset"]))
    )
    ds = reopen(tiny, check_crc=False)
    with pytest.raises(DataError) as caught:
        ds[VICTIM]
    check_error(caught.value, tiny, ds)
    assert REASONS[damage] in caught.value.reason
    options: dict[str, Any] = {"engine": engine, "error_report": tmp_path / "x", "num_workers": 1}
    with pytest.raises(DataError, match=REASONS[damage]):
        list(DataLoader(ds, 6, **options))
    (batch,) = DataLoader(ds, 6, on_error="replace", **options)
    assert batch["key"][VICTIM] != make.KEYS[VICTIM]


# --- a file that is not there any more, or not all of it ---


def remove(path: Path) -> None:
    path.unlink()


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def forbid(path: Path) -> None:
    path.chmod(0)
    if os.access(path, os.R_OK):
        path.chmod(0o644)
        pytest.skip("needs a user that file modes bind")


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 1024)


LOSSES = {f.__name__: f for f in (remove, turn_into_folder, forbid, truncate, empty, grow)}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("loss", LOSSES)
def test_a_shard_lost_after_it_was_opened(
    tiny: Path, reopen: Open, tmp_path: Path, loss: str, engine: Any
) -> None:
    ds, path = reopen(tiny), make.shard(tiny, number=2)
    LOSSES[loss](path)
    for i in range(3):
        assert make.same(ds.read("S2L1C", i), make.pixels(f"S2L1C {i}"))
    for i in range(3, 6):
        with pytest.raises(DataError) as caught:
            ds[i]
        assert caught.value.shard == str(path)
        assert "cannot be read" in caught.value.reason or "when it was indexed" in str(caught.value)
    options: dict[str, Any] = {"engine": engine, "num_workers": 2}
    with pytest.raises(DataError, match="shard_000002"):
        list(DataLoader(ds, 6, error_report=tmp_path / "a", **options))
    loader = DataLoader(ds, 6, on_error="replace", error_report=tmp_path / "b", **options)
    (batch,) = loader
    assert loader.stats()["replaced"] == 3
    assert set(batch["key"]) == set(make.KEYS[:3])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("loss", ["truncate", "empty", "grow"])
def test_a_file_truncated_after_it_was_mapped(
    tmp_path: Path, reopen: Open, loss: str, engine: Any
) -> None:
    """In a child, since the failure would be a SIGBUS that ends the process."""
    keys = [f"{i:07d}" for i in range(40)]
    make.write(tmp_path, keys=keys, per_shard=40)

    def child() -> None:
        ds = reopen(tmp_path)
        options: dict[str, Any] = {"num_workers": 1, "engine": engine}
        batches = iter(DataLoader(ds, 1, error_report=tmp_path / "report", **options))
        assert next(batches)["key"] == [keys[0]]
        assert make.same(ds.read("S2L1C", 39), make.pixels("S2L1C 39"))
        time.sleep(1)  # Until what was asked for ahead is read: no check can save a read midway.
        LOSSES[loss](make.shard(tmp_path))
        with pytest.raises(DataError, match="when it was indexed"):
            ds[39]
        with pytest.raises(DataError, match="when it was indexed"):
            list(batches)

    run_in_child(child)


def run_in_child(work: Callable[[], None], spare: int | None = None) -> None:
    """Run in a forked process, with at most `spare` bytes of new address space."""

    def limited() -> None:
        if spare is not None:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + spare, used + spare))
        work()

    process = FORK.Process(target=limited)
    process.start()
    process.join(50)
    if process.exitcode is None:
        process.kill()
        process.join()
        pytest.fail("the child hangs")
    assert process.exitcode == 0


# --- damage that is there when the index is built ---


def refused(root: Path, path: Path, *words: str) -> DataError:
    with pytest.raises(DataError) as caught:
        SSL4EOS12(root, progress=False)
    assert caught.value.shard == str(path)
    for word in words:
        assert word in str(caught.value)
    return caught.value


@pytest.mark.parametrize("blocks", [0, 1, 2, 3, 9, 20])
def test_a_truncated_tar(tiny: Path, blocks: int) -> None:
    path = make.shard(tiny, number=2)
    os.truncate(path, 512 * blocks + (blocks > 2) * 100)
    refused(tiny, path)


def test_a_tar_cut_between_members(tiny: Path) -> None:
    """The members before are whole, yet the end of the archive is missing."""
    path = make.shard(tiny)
    with tarfile.open(path) as tar:
        third = tar.getmembers()[2]
    os.truncate(path, third.offset)
    error = refused(tiny, path, "expected a tar header or the end of the archive")
    assert error.offset == third.offset


def test_a_zeroed_header_is_no_end(tiny: Path) -> None:
    """A hole in a file, as a broken copy leaves it, must not hide the samples behind."""
    path = make.shard(tiny)
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset
    data = bytearray(path.read_bytes())
    data[second : second + 512] = bytes(512)
    path.write_bytes(bytes(data))
    error = refused(tiny, path, "other bytes follow")
    assert error.offset == second


def test_an_empty_file(tiny: Path) -> None:
    path = make.shard(tiny)
    path.write_bytes(b"")
    refused(tiny, path)


@pytest.mark.parametrize("kind", ["forbid", "turn_into_folder"])
def test_an_unreadable_shard(tiny: Path, kind: str) -> None:
    LOSSES[kind](make.shard(tiny))
    refused(tiny, make.shard(tiny), "cannot be read")


def test_a_dangling_link(tiny: Path, reopen: Open) -> None:
    make.shard(tiny).unlink()
    make.shard(tiny).symlink_to(tiny / "nowhere.tar")
    with pytest.raises(OSError, match="shard_000001"):
        reopen(tiny)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_a_sample_that_is_no_plain_file(tmp_path: Path, kind: bytes) -> None:
    path = make.shard(tmp_path)
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("0000001.zarr.zip")
        info.type, info.linkname = kind, "elsewhere"
        tar.addfile(info)
    refused(tmp_path, path, "expected a plain file")


def test_a_sample_that_is_no_zip(tmp_path: Path) -> None:
    path = make.write_tar(make.shard(tmp_path), {"1": b"PK but not really" * 9})
    refused(tmp_path, path, "1.zarr.zip", "no end record")
    make.write_tar(path, {"1": b""})
    refused(tmp_path, path, "1.zarr.zip", "at least 22 bytes")


# --- sizes that promise too much: refused, and nothing is allocated ---


def with_size(data: bytearray, field: bytes, header: int = 0) -> None:
    """Put a size field into a tar header and mend the header's checksum."""
    data[header + 124 : header + 136] = field
    data[header + 148 : header + 156] = b" " * 8
    total = sum(data[header : header + 512])
    data[header + 148 : header + 156] = b"%06o\0 " % total


TAR_SIZES = {
    "a byte more": lambda n: b"%011o\0" % (n + 512),
    "8 GiB": lambda n: b"77777777777\0",
    "exabytes": lambda n: b"\x80" + (2**62).to_bytes(11, "big"),
    "beyond 64 bits": lambda n: b"\x80" + b"\xff" * 11,
    "negative": lambda n: b"\xff" + b"\xff" * 9 + b"\xf0\x00",
    "minus a block": lambda n: b"\xff" * 10 + b"\xfe\x00",
    "no number": lambda n: b"9999x      \0",
}


TAR_KINDS = (b"0", b"x", b"g", b"L", b"K", b"S", b"5", b"7")
"""A file, PAX records, a GNU long name and link, a sparse file, a folder and another file."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("field", TAR_SIZES)
def test_tar_size_fields(tiny: Path, field: str) -> None:
    path = make.shard(tiny)
    sound = path.read_bytes()

    def child() -> None:
        for kind in TAR_KINDS:
            data = bytearray(sound)
            data[156:157] = kind
            with_size(data, TAR_SIZES[field](int(data[124:135], 8)))
            path.write_bytes(bytes(data))
            refused_quietly(tiny)

    run_in_child(child, spare=2**29)


def refused_quietly(root: Path) -> None:
    with pytest.raises(DataError):
        SSL4EOS12(root, progress=False)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("value", [b"99999999999999999999", b"-512", b"-1", b"x", b"8589934592"])
def test_pax_sizes(tmp_path: Path, value: bytes) -> None:
    path = make.shard(tmp_path)
    path.parent.mkdir(parents=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("0000001.zarr.zip")
        content = make.sample(1)
        info.size, info.pax_headers = len(content), {"comment": "y" * 60}
        tar.addfile(info, io.BytesIO(content))
    data = path.read_bytes()
    record = b" size=" + value + b"\n"
    line = b"%d" % (len(record) + 2) + record
    old = next(x for x in data[512:1024].split(b"\n") if b"comment" in x) + b"\n"
    filler = len(old) - len(line)
    line += b"%d comment=" % filler + b"z" * (filler - len(b"%d comment=" % filler) - 1) + b"\n"
    assert len(line) == len(old)
    path.write_bytes(data.replace(old, line))
    run_in_child(lambda: refused_quietly(tmp_path), spare=2**29)


ZIP_FIELDS = {
    "crc": (16, 4),
    "stored size": (20, 4),
    "size": (24, 4),
    "name length": (28, 2),
    "extra length": (30, 2),
    "comment length": (32, 2),
    "header offset": (42, 4),
}
"""Place and width in an entry of the directory."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("field", ZIP_FIELDS)
@pytest.mark.parametrize("member", ["bands/1.0.0.0", "time/0", ".zmetadata"])
@pytest.mark.parametrize("value", [0, 1, 0x7FFFFFF0])
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_zip_fields(tmp_path: Path, field: str, member: str, value: int, method: int) -> None:
    content = bytearray(make.zipped(make.group(make.pixels(1)), method))
    entry = content.rindex(b"PK\x01\x02", 0, content.rindex(member.encode()))
    offset, width = ZIP_FIELDS[field]
    value &= (1 << 8 * width) - 1
    before = bytes(content)
    content[entry + offset : entry + offset + width] = value.to_bytes(width, "little")
    if content == before:
        return
    make.write_tar(make.shard(tmp_path), {"0000001": bytes(content)})
    with pytest.raises(DataError) as caught:
        SSL4EOS12(tmp_path, progress=False)[0]
    assert "0000001.zarr.zip" in caught.value.member


@pytest.mark.parametrize("field", ["here", "count", "length", "start", "disk"])
@pytest.mark.parametrize("change", [-1, 1, 40])
def test_zip_end_record(tmp_path: Path, field: str, change: int) -> None:
    """A count that is too small would hide chunks, which would then read as fill value."""
    content = bytearray(make.zipped(make.group(make.pixels(1))))
    at = len(content) - 22
    where, code = {"disk": (4, "<H"), "here": (8, "<H"), "count": (10, "<H"),
                   "length": (12, "<I"), "start": (16, "<I")}[field]  # fmt: skip
    (old,) = struct.unpack_from(code, content, at + where)
    struct.pack_into(code, content, at + where, max(0, old + change) or 7)
    make.write_tar(make.shard(tmp_path), {"0000001": bytes(content)})
    refused(tmp_path, make.shard(tmp_path), "0000001.zarr.zip")


def test_a_count_that_hides_the_last_members(tmp_path: Path) -> None:
    content = bytearray(make.zipped(make.group(make.pixels(1))))
    for where in (-14, -12):
        (old,) = struct.unpack_from("<H", content, where)
        struct.pack_into("<H", content, where, old - 3)
    make.write_tar(make.shard(tmp_path), {"0000001": bytes(content)})
    refused(tmp_path, make.shard(tmp_path), "entries of the zip directory fill")


@pytest.mark.parametrize("old", ["bands/1.0.0.0", "bands/3.0.0.0", "time/0", "center_lat/0"])
@pytest.mark.parametrize("new", ["7", "0", "x"])
def test_a_damaged_name_is_no_absent_chunk(tmp_path: Path, old: str, new: str) -> None:
    """The directory's names have no checksum; a lost chunk would read as fill value."""
    content = bytearray(make.zipped(make.group(make.pixels(1))))
    at = content.rindex(old.encode()) + old.index("/") + 1
    if content[at : at + 1] == new.encode():
        return
    content[at : at + 1] = new.encode()
    make.write_tar(make.shard(tmp_path), {"0000001": bytes(content)})
    refused(tmp_path, make.shard(tmp_path), "in its own header")


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """A gigabyte of zeros, deflated."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    return b"".join(packer.compress(bytes(2**24)) for _ in range(64)) + packer.flush()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("member", [".zmetadata", "time/0", "bands/0.0.0.0"])
def test_a_bomb(tmp_path: Path, bomb: bytes, member: str) -> None:
    """A deflated member that would grow to a gigabyte."""
    content = make.group(make.pixels(1))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, bomb if name == member else data)
    zip_bytes = bytearray(buffer.getvalue())
    entry = zip_bytes.rindex(b"PK\x01\x02", 0, zip_bytes.rindex(member.encode()))
    struct.pack_into("<H", zip_bytes, entry + 10, zipfile.ZIP_DEFLATED)
    struct.pack_into("<I", zip_bytes, entry + 24, 2**30)
    make.write_tar(make.shard(tmp_path), {"0000001": bytes(zip_bytes)})
    run_in_child(lambda: refused_quietly(tmp_path), spare=2**28)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("array", "header"),
    [
        ("bands", {"shape": [4, 3, 16000, 16000], "chunks": [1, 1, 1, 1]}),
        ("bands", {"shape": [2**40, 3, 24, 24]}),
        ("time", {"shape": [2**27], "chunks": [2**27]}),
        ("time", {"shape": [4], "chunks": [2**27]}),
        ("cloud_mask", {"shape": [4, 16000, 16000], "chunks": [1, 16000, 16000]}),
        ("center_lon", {"dtype": "<U400000000"}),
    ],
    ids=range(6),
)
def test_headers_that_promise_too_much(tmp_path: Path, array: str, header: dict[str, Any]) -> None:
    mask = np.zeros((make.T, make.H, make.W), np.uint8)
    content = make.group(make.pixels(1), cloud=mask, consolidated=False)
    name = f"{array}/.zarray"
    content[name] = json.dumps(json.loads(content[name]) | header).encode()
    make.write_tar(make.shard(tmp_path), {"0000001": make.zipped(content)})
    run_in_child(lambda: refused_quietly(tmp_path), spare=2**28)


# --- every kind of byte, flipped ---

SMALL = (2, 2, 12, 12)


def small_tar(path: Path, codec: Any = make.LZ4, absent: tuple[str, ...] = ()) -> bytes:
    """Two samples with as few bytes as can be."""
    samples = {
        f"{i:07d}": make.zipped(
            make.group(
                make.pixels(f"small {i}", SMALL), number=i, compressor=codec, lon=i, absent=absent
            )
        )
        for i in range(2)
    }
    return make.write_tar(path, samples).read_bytes()


def attempt(work: Callable[[], tuple[Any, ...]]) -> tuple[Any, ...] | DataError:
    """What comes out, be it an error of the named kind; any other error is the test's failure."""
    try:
        return work()
    except DataError as error:
        return error


def stored(ds: SSL4EOS12) -> list[np.void]:
    """All chunks that have bytes."""
    return [c for i in range(len(ds)) for c in chunks(ds, i) if c["stored"]]


def everything(ds: SSL4EOS12) -> tuple[Any, ...]:
    """All that a dataset says of its samples."""
    raw = [ds[i] for i in range(len(ds))]
    return tuple(
        (r["key"], r["lon"], r["lat"], r["time"].tolist(), r["S2L1C"].numpy().tobytes())
        for r in raw
    )


def damages(
    data: bytes, found: list[np.void], seed: int, flips: int, cuts: int
) -> Iterator[tuple[str, bytes]]:
    """Seeded flips, each structure of the file equally often, and truncations."""
    rng = np.random.default_rng(seed)
    marks = {"local header": b"PK\x03\x04", "entry": b"PK\x01\x02", "end": b"PK\x05\x06"}
    places: dict[str, list[int]] = {"any": list(range(len(data)))}
    for name, mark in marks.items():
        starts = [i for i in range(len(data)) if data.startswith(mark, i)]
        places[name] = [i for s in starts for i in range(s, min(s + 60, len(data)))]
    headers = [i for i in range(0, len(data), 512) if data[i + 257 : i + 262] == b"ustar"]
    places["tar header"] = [i for h in headers for i in range(h, h + 512)]
    places["chunk"] = [i for c in found for i in range(c["offset"], c["offset"] + c["stored"])]
    places["chunk header"] = [i for c in found for i in range(c["offset"], c["offset"] + 16)]
    names = list(places)
    for n in range(flips):
        kind = names[n % len(names)]
        at = places[kind][rng.integers(len(places[kind]))]
        changed = bytearray(data)
        changed[at] ^= 1 << rng.integers(8)
        yield f"{kind} at {at}", bytes(changed)
    for at in rng.integers(0, len(data), cuts):
        yield f"cut at {at}", data[:at]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("absent", [(), ("bands/1.0.0.0",)], ids=["", "with an absent chunk"])
def test_flips_before_the_index_is_built(
    tmp_path: Path, reopen: Open, absent: tuple[str, ...]
) -> None:
    """Each is refused, or does no harm; never other pixels, dates or places."""
    path = make.shard(tmp_path)
    data = small_tar(path, absent=absent)
    sound = reopen(tmp_path)
    truth = everything(sound)
    refusals = 0
    for n, (what, changed) in enumerate(damages(data, stored(sound), 1, 301, 50)):
        path.write_bytes(changed)
        os.utime(path, ns=(n, n))
        found = attempt(lambda: everything(reopen(tmp_path)))
        if isinstance(found, DataError):
            refusals += 1
            assert found.shard == str(path), what
        else:
            assert found == truth, what
    assert refusals > 150


@pytest.mark.timeout(60)
@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_flips_of_long_names(tmp_path: Path, reopen: Open, format: int) -> None:
    """They have no checksum in a tar: a key may come out wrong, but no sample is lost."""
    path, keys = make.shard(tmp_path), [f"{i}" * 120 for i in range(2)]
    samples = {k: make.zipped(make.group(make.pixels(k, SMALL))) for k in keys}
    data = make.write_tar(path, samples, format).read_bytes()
    truth = everything(reopen(tmp_path))
    rng = np.random.default_rng(3)
    second = data.rindex(keys[1].encode()) - 520
    for n, at in enumerate(rng.integers(second, second + 680, 150)):
        changed = bytearray(data)
        changed[at] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(changed))
        os.utime(path, ns=(n, n))
        found = attempt(lambda: everything(reopen(tmp_path)))
        if isinstance(found, DataError):
            continue
        assert [sample[1:] for sample in found] == [sample[1:] for sample in truth]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("codec", [make.LZ4, Zstd(3), Zlib(6), None], ids=str)
def test_flips_after_the_index_was_built(tmp_path: Path, reopen: Open, codec: Any) -> None:
    path = make.shard(tmp_path)
    data = small_tar(path, codec)
    sound = reopen(tmp_path)
    truth = everything(sound)
    refusals = 0
    for what, changed in damages(data, stored(sound), 2, 210, 0):
        path.write_bytes(changed)
        found = attempt(lambda: everything(sound))
        if isinstance(found, DataError):
            refusals += 1
            assert found.shard == str(path), what
            assert ".zarr.zip/bands/" in found.member
            assert found.offset > 0
        else:
            assert found == truth, what
    assert refusals >= 2 * 210 // 7  # at least the flips in chunks


WILD = {
    "lz4 byte": make.LZ4,
    "lz4 bit": Blosc("lz4", 5, Blosc.BITSHUFFLE),
    "lz4hc": Blosc("lz4hc", 9, Blosc.SHUFFLE),
    "zstd in blosc": Blosc("zstd", 3, Blosc.BITSHUFFLE, blocksize=256),
    "zlib in blosc": Blosc("zlib", 3, Blosc.SHUFFLE),
    "blosclz": Blosc("blosclz", 9, Blosc.SHUFFLE),
    "zstd": Zstd(3),
    "zlib": Zlib(6),
    "none": None,
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("codec", WILD)
def test_flips_without_checksums(tmp_path: Path, codec: str) -> None:
    """Pixels may be wrong then; but there is no crash, no hang, no allocation beyond reason."""
    path = make.shard(tmp_path)
    small_tar(path, WILD[codec])

    def child() -> None:
        ds = SSL4EOS12(tmp_path, progress=False, check_crc=False)
        sound, before = path.read_bytes(), path.stat()
        rng = np.random.default_rng(4)
        places = stored(ds)
        wrong = 0
        for n in range(500):
            data, place = bytearray(sound), places[n % len(places)]
            span = min(place["stored"], 32) if n % 3 else place["stored"]
            for at in rng.integers(0, span, 1 + n % 3):
                data[place["offset"] + at] = rng.integers(256)
            path.write_bytes(bytes(data))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
            try:
                for i in range(2):
                    ds.read("S2L1C", i)
            except DataError:
                wrong += 1
        assert wrong > 50 or codec == "none"

    run_in_child(child, spare=2**29)
