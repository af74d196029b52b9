import struct

import numcodecs.blosc
import numpy as np
import pytest

from fastload.storage.blosc.frames import LZ4, RAW, ZSTD, Reasons, parse
from tests.fastload import frame_maker as make

FIELDS = {"version": 0, "versionlz": 1, "flags": 2, "typesize": 3,
          "nbytes": 4, "blocksize": 8, "cbytes": 12}  # fmt: skip


def edited(frame: bytes, at: int, value: int, width: int = 4) -> bytes:
    return frame[:at] + value.to_bytes(width, "little", signed=value < 0) + frame[at + width :]


def sample(codec: str = "lz4", shuffle: int = 1) -> tuple[np.ndarray, bytes]:
    """5000 int16 in nine blocks of 1024 bytes, with LZ4 of two streams each, and a short one."""
    data = np.cumsum(np.arange(5000) % 7).astype("<i2").view("u1")
    if codec == "lz4":
        return data, make.small_blocks(data, 2, shuffle, 1024)
    return data, make.frame(data, 2, codec, shuffle=shuffle, block=1024)


@pytest.mark.parametrize("shuffle", make.SHUFFLES)
@pytest.mark.parametrize("codec", make.CODECS)
def test_every_frame_decodes_by_its_streams(codec: str, shuffle: int) -> None:
    rng = np.random.default_rng([make.CODECS.index(codec), shuffle])
    made = make.some(rng, 400, codec, shuffle)
    frames, sizes = [f for _, f in made], [len(d) for d, _ in made]
    parsed = parse(frames, sizes)
    assert parsed.on_host == []
    for i, found in enumerate(make.decode(parsed, frames, sizes)):
        np.testing.assert_array_equal(found, made[i][0], f"frame {i}: {frames[i][:16].hex(' ')}")
    kinds = set(parsed.streams["kind"].tolist())
    assert kinds == {RAW, ZSTD if codec == "zstd" else LZ4}
    assert set(parsed.blocks["shuffle"].tolist()) == ({shuffle} - {0})


@pytest.mark.parametrize("shuffle", make.SHUFFLES)
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
@pytest.mark.parametrize("typesize", make.TYPESIZES)
def test_lengths_that_are_no_whole_elements(typesize: int, codec: str, shuffle: int) -> None:
    rng = np.random.default_rng(typesize)
    for i in range(60):
        data = make.content(rng, int(2 ** rng.uniform(0, 12)), typesize)[: -(i % typesize) or None]
        frame = make.odd_frame(data, typesize, codec, shuffle, [0, 256, 1000][i % 3])
        (found,) = make.decode(parse([frame], [len(data)]), [frame], [len(data)])
        np.testing.assert_array_equal(found, data)


@pytest.mark.timeout(60)
def test_blocks_in_any_order() -> None:
    data, frame = sample()
    starts = np.frombuffer(frame, "<i4", 10, 16)
    order = np.random.default_rng(0).permutation(10)
    ends = np.append(starts[1:], len(frame))
    blocks = [frame[starts[i] : ends[i]] for i in order]
    at = np.cumsum([56, *map(len, blocks)])[:-1]
    mixed = frame[:16] + at[np.argsort(order)].astype("<i4").tobytes() + b"".join(blocks)
    threaded = make.odd_frame(data, 2, "zstd", 1, 256, threads=4)
    for other in (mixed, threaded):
        parsed = parse([other], [len(data)])
        assert (np.diff(parsed.streams["dst"]) > 0).all()
        np.testing.assert_array_equal(make.decode(parsed, [other], [len(data)])[0], data)
    assert (np.diff(parse([mixed], [len(data)]).streams["src"]) < 0).any()


@pytest.mark.parametrize("shuffle", make.SHUFFLES)
@pytest.mark.parametrize(("typesize", "block"), [(2, 254), (2, 256), (4, 480), (4, 512), (8, 1008)])
def test_small_blocks_are_not_split(typesize: int, block: int, shuffle: int) -> None:
    data = np.arange(6000).astype(f"u{typesize}").view("u1")[:-5]
    frame = make.small_blocks(data, typesize, shuffle, block)
    parsed = parse([frame], [len(data)])
    full, splits = len(data) // block, typesize if block in (256, 512) else 1
    assert len(parsed.streams) == full * splits + 1
    np.testing.assert_array_equal(make.decode(parsed, [frame], [len(data)])[0], data)


@pytest.mark.parametrize(("codec", "splits"), [("lz4", 2), ("zstd", 1)])
def test_a_timestamp_of_the_archive(codec: str, splits: int) -> None:
    data = make.content(np.random.default_rng(1), 13 * 264 * 264, 2)
    parsed = parse([make.frame(data, 2, codec)], [len(data)])
    assert parsed.blocks["length"].tolist() == [262_144] * 6 + [239_232]
    assert parsed.streams["size"].tolist() == [262_144 // splits] * 6 * splits + [239_232]


@pytest.mark.parametrize("codec", make.CODECS)
def test_only_headers_are_read(codec: str) -> None:
    rng = np.random.default_rng(5)
    made = make.some(rng, 100, codec, 1)
    frames, sizes = [f for _, f in made], [len(d) for d, _ in made]
    parsed = parse(frames, sizes)
    junk = [np.frombuffer(f, np.uint8).copy() for f in frames]
    for row in parsed.streams:
        end = row["src"] + row["csize"]
        junk[row["chunk"]][row["src"] : end] = rng.integers(0, 256, row["csize"])
    again = parse(junk, sizes)
    assert sum((a != np.frombuffer(f, np.uint8)).any() for a, f in zip(junk, frames, strict=True))
    np.testing.assert_array_equal(again.streams, parsed.streams)
    np.testing.assert_array_equal(again.blocks, parsed.blocks)


def test_what_goes_to_the_host() -> None:
    data = make.content(np.random.default_rng(2), 3000, 2)
    data[:] = np.arange(6000) // 60
    frames = {
        "blosclz": make.frame(data, 2, "blosclz"),
        "zlib": make.frame(data, 2, "zlib"),
        "lz4": make.frame(data, 2, "lz4"),
        "three bytes, shuffled": make.frame(data, 3, "lz4"),
        "three bytes, not shuffled": make.frame(data, 3, "lz4", shuffle=0),
        "stored": make.frame(data, 2, "blosclz", level=0),
    }
    parsed = parse(list(frames.values()), [len(data)] * len(frames))
    assert parsed.on_host == [
        (0, "Blosc codec blosclz"),
        (1, "Blosc codec zlib"),
        (3, "shuffled type of 3 bytes"),
    ]
    assert set(parsed.streams["chunk"].tolist()) == {2, 4, 5}
    found = make.decode(parsed, list(frames.values()), [len(data)] * len(frames))
    for i in (2, 4, 5):
        np.testing.assert_array_equal(found[i], data)


def test_nothing_to_parse() -> None:
    assert len(parse([], []).streams) == 0
    empty = make.frame(np.zeros(0, np.uint8), 2, "lz4")
    parsed = parse([empty], [0])
    assert (len(parsed.streams), len(parsed.blocks), parsed.on_host) == (0, 0, [])
    with pytest.raises(ValueError, match="1 frames, but 2 sizes"):
        parse([empty], [0, 0])


WRONG = {
    "version": [("version", 3, "version must be 2, found 3")],
    "a codec's version": [("versionlz", 2, "versionlz must be 1, found 2")],
    "flags of the future": [("flags", 0x2B, "flags must have bit 3 unset, found 43")],
    "codec": [("flags", 0xA1, "flags must name a codec from 0 to 4, found 161")],
    "typesize": [("typesize", 0, "typesize must be at least 1, found 0")],
    "nbytes": [("nbytes", 9998, "nbytes must be 10000, found 9998")],
    "cbytes": [("cbytes", 17, r"cbytes must be \d+, as many as there are, found 17")],
    "stored": [("flags", 0x23, r"cbytes must be nbytes \+ 16 in a stored frame")],
    "no blocksize": [("blocksize", 0, "blocksize must be at least 1, found 0")],
    "large blocksize": [("blocksize", 10001, "blocksize must be at most 10000, found 10001")],
    "uneven blocksize": [("blocksize", 1025, "blocksize must be a multiple of 2, found 1025")],
    "small blocksize": [("blocksize", 1, "bstarts must name as many blocks as .*found 10000")],
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_header_names_its_field(case: str) -> None:
    data, frame = sample()
    for field, value, message in WRONG[case]:
        broken = edited(frame, FIELDS[field], value, 1 if FIELDS[field] < 4 else 4)
        with pytest.raises(ValueError, match=f"^chunk 1: Blosc {message}"):
            parse([frame, broken, frame], [len(data)] * 3)


@pytest.mark.parametrize("start", [-1, 0, 16, 55, 2**31 - 1, -(2**31)])
def test_a_damaged_block_start(start: int) -> None:
    data, frame = sample()
    for block in (0, 3, 9):
        with pytest.raises(ValueError, match=rf"bstarts\[{block}\] must lie .*found {start}$"):
            parse([edited(frame, 16 + 4 * block, start)], [len(data)])
    with pytest.raises(ValueError, match=rf"bstarts\[2\] must .*found {len(frame) - 3}$"):
        parse([edited(frame, 24, len(frame) - 3)], [len(data)])


@pytest.mark.parametrize("csize", [0, -1, 513, 2**31 - 1, -(2**31)])
def test_a_damaged_stream_size(csize: int) -> None:
    data, frame = sample()
    rows = parse([frame], [len(data)]).streams
    for row, (block, stream) in zip(
        rows[[0, 1, 6, 7]], [(0, 0), (0, 1), (3, 0), (3, 1)], strict=True
    ):
        broken = edited(frame, int(row["src"]) - 4, csize)
        match = f"csize of block {block}, stream {stream} must be positive, .*found {csize}$"
        with pytest.raises(ValueError, match=match):
            parse([broken], [len(data)])


def test_streams_that_run_out_of_the_frame() -> None:
    data, frame = sample()
    last = int(parse([frame], [len(data)]).streams[-1]["src"]) - 4
    moved = edited(frame, 16 + 4 * 2, last)  # block 2 now begins at the last, single stream
    with pytest.raises(ValueError, match="csize of block 2, stream 1 must lie inside the frame"):
        parse([moved], [len(data)])


def test_truncated_frames() -> None:
    data, frame = sample()
    fence = make.Fence(len(frame))
    for n in range(len(frame)):
        with pytest.raises(ValueError, match="header" if n < 16 else "cbytes"):
            parse([fence.put(frame[:n])], [len(data)])
        if n >= 16:
            with pytest.raises(ValueError, match=r"bstarts|csize"):
                parse([fence.put(edited(frame, FIELDS["cbytes"], n)[:n])], [len(data)])


@pytest.mark.parametrize("shuffle", make.SHUFFLES)
@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_flipped_bit_is_found_or_means_what_blosc_reads(codec: str, shuffle: int) -> None:
    data, frame = sample(codec, shuffle)
    fence, n = make.Fence(len(frame)), len(data)
    rows = parse([frame], [n]).streams
    places = [*range(16), *range(16, 56), *(int(r["src"]) - 4 + k for r in rows for k in range(4))]
    found = agreed = 0
    for place in places:
        for bit in range(8):
            broken = edited(frame, place, frame[place] ^ 1 << bit, 1)
            try:
                parsed = parse([fence.put(broken)], [n])
                (ours,) = make.decode(parsed, [broken], [n])
            except ValueError:
                found += 1
                continue
            if not parsed.on_host:
                theirs = np.frombuffer(numcodecs.blosc.decompress(broken), np.uint8)
                np.testing.assert_array_equal(ours, theirs, f"bit {bit} of byte {place}")
                agreed += 1
    assert found > 0.8 * 8 * len(places)
    assert agreed > 0


@pytest.mark.timeout(120)
def test_junk_behind_a_plausible_header_never_leads_outside() -> None:
    rng = np.random.default_rng(9)
    fence = make.Fence(4096)
    refused = 0
    for _ in range(5000):
        n, nbytes = int(rng.integers(16, 600)), int(rng.integers(0, 3000))
        flags = int(rng.choice([0x20, 0x21, 0x24, 0x30, 0x31, 0x80, 0x91, 0x22]))
        typesize, block = int(rng.choice([1, 2, 4, 8, 16])), int(rng.integers(1, nbytes + 2))
        head = struct.pack("<BBBBIII", 2, 1, flags, typesize, nbytes, block, n)
        body = rng.integers(-2, 600, n).astype("<i4").tobytes()
        frame = head + body[: n - 16]
        try:
            rows = parse([fence.put(frame)], [nbytes]).streams
        except ValueError:
            refused += 1
            continue
        assert ((rows["src"] >= 16) & (rows["src"] + rows["csize"] <= n)).all()
        assert ((rows["dst"] >= 0) & (rows["dst"] + rows["size"] <= nbytes)).all()
        assert rows["size"].sum() in (0, nbytes)
    assert 0 < refused < 5000


def test_a_damaged_frame_is_not_for_the_host() -> None:
    data, _ = sample()
    damaged: Reasons = []
    parsed = parse([make.frame(data, 2, "zlib")[:-1]], [len(data)], damaged)
    assert (parsed.on_host, [i for i, _ in damaged]) == ([], [0])


def test_damaged_frames_are_left_out_if_asked() -> None:
    data, frame = sample()
    second = int(parse([frame], [len(data)]).streams[4]["src"]) - 4
    frames = [frame, frame[:9], frame, edited(frame, second, 0), frame]
    damaged: Reasons = []
    parsed = parse(frames, [len(data)] * 5, damaged)
    assert [i for i, _ in damaged] == [1, 3]
    assert damaged[0][1] == "Blosc header must have 16 bytes, found 9"
    assert damaged[1][1].startswith("Blosc csize of block 2, stream 0 must be positive")
    alone = parse([frame], [len(data)])
    for table, one in ((parsed.streams, alone.streams), (parsed.blocks, alone.blocks)):
        assert table["chunk"].tolist() == [i for i in (0, 2, 4) for _ in one]
        for name in one.dtype.names[1:]:
            assert table[name].tolist() == one[name].tolist() * 3, name
