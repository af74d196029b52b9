"""Zips whose sizes, places or number of members do not fit the fields of old."""

import io
import struct
import warnings
import zipfile
from pathlib import Path

import pytest

from fastload import SSL4EOS12, DataError
from fastload.storage.formats import zip as zips
from tests.fastload import shardmaker as make
from tests.fastload.test_formats import check, patched_entries, refuse

FAR = b"\xff" * 4


def entries64(content: dict[str, bytes]) -> bytes:
    """A zip whose members have zip64 fields in their local headers alone."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in content.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(data)
    return out.getvalue()


def far(data: bytes, fields: str = "sizes place") -> bytes:
    """Let the directory's entries say their sizes and places in zip64 fields."""
    out, at = bytearray(), int.from_bytes(data[-6:-2], "little")
    start = at
    while data[at : at + 4] == b"PK\x01\x02":
        head = bytearray(data[at : at + 46])
        n_name, n_extra, n_comment = struct.unpack_from("<3H", head, 28)
        name = data[at + 46 : at + 46 + n_name]
        stored, size = struct.unpack_from("<2L", head, 20)
        values = []
        if "sizes" in fields:
            values += [size, stored]
            head[20:28] = FAR * 2
        if "place" in fields:
            values.append(struct.unpack_from("<L", head, 42)[0])
            head[42:46] = FAR
        extra = b"\x99\x99\x02\x00ab" + struct.pack("<2H", 1, 8 * len(values))
        extra += struct.pack(f"<{len(values)}Q", *values)
        struct.pack_into("<3H", head, 28, n_name, len(extra), 0)
        out += head + name + extra
        at += 46 + n_name + n_extra + n_comment
    end = bytearray(data[-22:])
    struct.pack_into("<L", end, 12, len(out))
    return data[:start] + bytes(out) + bytes(end)


def ended64(data: bytes) -> bytes:
    """Let the end record leave its values to a zip64 one."""
    _, _, _, here, count, length, start, _ = struct.unpack("<4s4H2LH", data[-22:])
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, here, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(data) - 22, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return data[:-22] + end64 + locator + end


@pytest.mark.parametrize("absent", [[], ["bands/2.0.0.0"]], ids=["", "a chunk is absent"])
def test_zip64_entries_and_ends(tmp_path: Path, absent: list[str]) -> None:
    """As zipfile reads them, too."""
    content = make.group(make.pixels(7), absent=absent)
    plain = make.zipped(content)
    variants = [entries64(content), far(plain), far(plain, "sizes"), far(plain, "place"),
                ended64(plain), ended64(far(entries64(content)))]  # fmt: skip
    for number, data in enumerate(variants):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == content
        check(tmp_path / str(number), data)


@pytest.mark.slow
def test_more_members_than_the_old_field_can_count() -> None:
    out, names = io.BytesIO(), [f"a/{i}" for i in range(70_000)]
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), b"x")
    data = out.getvalue()
    assert data[-14:-10] == b"\xff" * 4
    found = zips.directory(lambda at, size: data[at : at + size], len(data))
    assert list(found.entries) == names


def end(**fields: int) -> bytes:
    """A zip whose zip64 end record says other things."""
    data = bytearray(ended64(make.zipped(make.group(make.pixels(1)))))
    places = {"disk": (-82, 4), "here": (-74, 8), "count": (-66, 8), "length": (-58, 8),
              "start": (-50, 8), "magic": (-98, 4), "locator": (-42, 4), "locator_disk": (-38, 4),
              "place": (-34, 8), "disks": (-26, 4)}  # fmt: skip
    for name, value in fields.items():
        at, size = places[name]
        data[at : at + size] = value.to_bytes(size, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"disk": 1}, "several disks"),
        ({"disks": 2}, "several disks"),
        ({"locator_disk": 1}, "several disks"),
        ({"here": 3}, "several disks"),
        ({"count": 2**63, "here": 2**63}, "exceeds 262144 entries"),
        ({"count": 16, "here": 16}, "entries of the zip directory fill"),
        ({"count": 19, "here": 19}, "shorter than its entries"),
        ({"length": 2**63}, "does not fit the zip"),
        ({"length": 2**64 - 1}, "does not fit the zip"),
        ({"start": 2**64 - 1}, "does not fit the zip"),
        ({"place": 2**64 - 1}, "zip64 end record at .* does not fit"),
        ({"place": 0}, "there is no zip64 end record at 0"),
        ({"magic": 0}, "there is no zip64 end record"),
        ({"locator": 0}, "no locator"),
    ],
)
def test_end_records_that_lie(tmp_path: Path, fields: dict[str, int], words: str) -> None:
    with zipfile.ZipFile(io.BytesIO(end())):
        pass
    refuse_like(tmp_path, end(**fields), words)


def refuse_like(root: Path, content: bytes, pattern: str) -> None:
    make.write_tar(make.shard(root), {"0000003": content})
    with pytest.raises(DataError, match=pattern):
        SSL4EOS12(root, progress=False)


def test_an_end_record_without_the_other(tmp_path: Path) -> None:
    content = bytearray(make.zipped(make.group(make.pixels(1))))
    content[-14:-10] = b"\xff" * 4
    refuse(tmp_path, bytes(content), "promises a zip64 one, of which there is no locator")


def test_entries_without_their_field(tmp_path: Path) -> None:
    def lie(data: bytearray, at: int) -> None:
        data[at + 20 : at + 28] = b"\xff" * 8

    content = entries64(make.group(make.pixels(1)))
    refuse(tmp_path, patched_entries(content, lie), "has no zip64 field with its sizes")


@pytest.mark.parametrize("value", [2**32, 2**62, 2**64 - 1])
@pytest.mark.parametrize("which", [0, 1, 2], ids=["size", "stored size", "place"])
def test_zip64_fields_that_lie(tmp_path: Path, which: int, value: int) -> None:
    """Nothing is read or allocated by them."""
    data = bytearray(far(make.zipped(make.group(make.pixels(1)))))
    name = data.rindex(b"bands/1.0.0.0")
    at = data.index(struct.pack("<2H", 1, 24), name) + 4 + 8 * which
    data[at : at + 8] = value.to_bytes(8, "little")
    words = "size field" if which == 0 else "does not fit the zip"
    refuse(tmp_path, bytes(data), words)


def test_a_directory_is_bounded() -> None:
    """No memory is taken for a directory that cannot be, however large the file is."""
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, 2**40, 0)
    tail = end64 + struct.pack("<4sLQL", b"PK\x06\x07", 0, 2**41, 1)
    tail += struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[0xFFFFFFFF] * 2, 0)

    def read(at: int, size: int) -> bytes:
        assert size <= 2**17
        return tail[at - 2**41 :][:size] if at >= 2**41 else bytes(size - len(tail)) + tail

    with (
        warnings.catch_warnings(),
        pytest.raises(ValueError, match="1099511627776 bytes exceeds 262144 entries or 67108864"),
    ):
        zips.directory(read, 2**41 + len(tail))
