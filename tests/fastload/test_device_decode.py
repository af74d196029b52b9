import shutil
import struct
import subprocess
from pathlib import Path

import lz4.block
import numcodecs.blosc
import numpy as np
import pytest

from fastload.engines.device import nvcomp
from fastload.engines.device.decode import Decoder, Tables
from fastload.engines.device.nvcomp import NvComp, StreamTable
from fastload.storage.blosc.frames import LZ4, RAW, ZSTD, parse
from tests.fastload import frame_maker as make
from tests.fastload.host_codecs import HostCodecs, memory
from tests.kernels.cuda.host import HostDevice

GUARD = 0xA5


class CountingCodecs(HostCodecs):
    def __init__(self) -> None:
        self.calls: list[tuple[int, int, int]] = []

    def decompress(
        self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
    ) -> None:
        self.calls.append((kind, table.count, stream))
        super().decompress(kind, table, temp, temp_bytes, stream)


class Run:
    """A batch decoded on the host as an engine would on a GPU: frames in one buffer, destinations
    in another, each piece of memory exactly as large as asked for, with guards around it."""

    def __init__(
        self, frames: list[bytes], sizes: list[int], align: int = 8, skip: int = 0
    ) -> None:
        self.codecs = CountingCodecs()
        self.decoder = Decoder(HostDevice(), self.codecs, stream=7)
        self.moved = np.frombuffer(b"\0" * skip + b"".join(frames), np.uint8)
        starts = np.cumsum([skip, *map(len, frames)])[:-1]
        room = np.array([-(-size // align) * align + 8 for size in sizes], np.int64)
        self.places = np.cumsum([8 + skip, *room])[:-1]
        self.sizes = sizes
        self.out = np.full(int(room.sum()) + 24 + skip, GUARD, np.uint8)
        source = self.moved.ctypes.data + starts
        self.tables = self.decoder.prepare(
            source.astype(np.int64),
            np.array([len(frame) for frame in frames], np.int64),
            np.array(sizes, np.int64),
            source.astype(np.uint64),
            (self.out.ctypes.data + self.places).astype(np.uint64),
        )
        self.scratch = np.full(self.tables.scratch_bytes + 64, GUARD, np.uint8)
        self.results = np.full(self.tables.results_bytes, GUARD, np.uint8)

    def decode(self) -> list[tuple[int, str]]:
        uploaded = np.zeros(len(self.tables.host) // 8 + 1, np.uint64)
        memory(uploaded.ctypes.data, len(self.tables.host))[:] = self.tables.host
        scratch = self.scratch.ctypes.data + 16
        self.decoder.enqueue(self.tables, uploaded.ctypes.data, scratch, self.results.ctypes.data)
        self.scratch[16 : 16 + self.tables.scratch_bytes] = GUARD
        assert (self.scratch == GUARD).all(), "outside of the scratch memory"
        return self.decoder.failed(self.tables, self.results)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.out[self.places[i] : self.places[i] + self.sizes[i]]

    def untouched(self) -> bool:
        """Whether what lies between the destinations is as it was."""
        outside = np.ones(len(self.out), bool)
        for place, size in zip(self.places, self.sizes, strict=True):
            outside[place : place + size] = False
        return bool((self.out[outside] == GUARD).all())


def sample(codec: str = "lz4", shuffle: int = 1, seed: int = 0) -> tuple[np.ndarray, bytes]:
    """4000 bytes that become one stream, which is smaller."""
    data = (np.arange(4000) // 100 + seed).astype("u1")
    frame = make.frame(data, 2, codec, shuffle=shuffle)
    assert parse([frame], [len(data)]).streams["kind"].tolist() != [RAW]
    return data, frame


@pytest.mark.timeout(240)
@pytest.mark.parametrize("shuffle", make.SHUFFLES)
@pytest.mark.parametrize("seed", range(10))
def test_batches_of_every_kind(seed: int, shuffle: int) -> None:
    rng = np.random.default_rng([seed, shuffle])
    made = [m for codec in make.CODECS for m in make.some(rng, 40, codec, shuffle)]
    rng.shuffle(made)
    frames, sizes = [f for _, f in made], [len(d) for d, _ in made]
    run = Run(frames, sizes, align=8 if seed % 2 else 1, skip=seed)
    assert run.decode() == []
    assert (run.tables.on_host, run.tables.damaged) == ([], [])
    for i, (data, frame) in enumerate(made):
        np.testing.assert_array_equal(run[i], data, f"frame {i}: {frame[:16].hex(' ')}")
    assert run.untouched()
    assert {stream for *_, stream in run.codecs.calls} == {7}
    kinds = [kind for kind, *_ in run.codecs.calls]
    assert kinds[:2] == [LZ4, ZSTD]  # one call for LZ4, and as many for zstd as it takes
    assert set(kinds[2:]) <= {ZSTD}
    assert all(count <= 512 for kind, count, _ in run.codecs.calls if kind == ZSTD)
    streams = parse(frames, sizes).streams
    assert sum(count for _, count, _ in run.codecs.calls) == np.count_nonzero(streams["kind"])


def test_all_shuffles_and_codecs_share_a_batch() -> None:
    made = [sample(codec, shuffle, i) for i, codec in enumerate(("lz4", "zstd", "lz4hc"))
            for shuffle in make.SHUFFLES]  # fmt: skip
    data = make.content(np.random.default_rng(3), 150_000, 2)
    made += [(data, make.frame(data, 2, codec, level, shuffle)) for codec in ("lz4", "zstd")
             for shuffle in make.SHUFFLES for level in (0, 5)]  # fmt: skip
    run = Run([f for _, f in made], [len(d) for d, _ in made])
    assert run.decode() == []
    for i, (content, _) in enumerate(made):
        np.testing.assert_array_equal(run[i], content)


def test_what_is_not_shuffled_needs_no_scratch_memory() -> None:
    data, frame = sample("lz4", shuffle=0)
    run = Run([frame] * 3, [len(data)] * 3)
    streams = len(parse([frame] * 3, [len(data)] * 3).streams)
    assert run.tables.scratch_bytes == HostCodecs().temp_bytes(LZ4, streams, 1, streams)
    assert run.decode() == []
    shuffled = Run([sample()[1]] * 3, [len(data)] * 3).tables
    assert shuffled.scratch_bytes > run.tables.scratch_bytes + 3 * len(data)


def test_nothing_to_decode() -> None:
    run = Run([], [])
    assert (len(run.tables.host), run.tables.scratch_bytes, run.tables.results_bytes) == (0, 0, 0)
    assert run.decode() == []
    assert run.codecs.calls == []


def test_a_batch_can_be_decoded_again() -> None:
    data, frame = sample()
    run = Run([frame], [len(data)])
    assert run.decode() == []
    run.out[:] = GUARD
    assert run.decode() == []
    np.testing.assert_array_equal(run[0], data)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_a_damaged_stream_is_found_by_its_status(codec: str) -> None:
    made = [sample(codec, seed=i) for i in range(4)]
    frames = [f for _, f in made]
    row = parse(frames[2:3], [4000]).streams[0]
    at, end = int(row["src"]), int(row["src"] + row["csize"])
    frames[2] = frames[2][:at] + b"\xff" * (end - at) + frames[2][end:]
    run = Run(frames, [4000] * 4)
    (failure,) = run.decode()
    assert failure[0] == 2
    assert f"stream at byte {at} of the Blosc frame is damaged" in failure[1]
    assert "nvcompErrorCannotDecompress (12)" in failure[1]
    for i in (0, 1, 3):
        np.testing.assert_array_equal(run[i], made[i][0])
    assert run.untouched()


def test_a_stream_of_another_size_is_found() -> None:
    data = sample()[0]
    whole, part = (lz4.block.compress(d.tobytes(), store_size=False) for d in (data, data[:3990]))
    frames = []
    for packed in (whole, part):
        sizes = (len(data), len(data), 24 + len(packed))
        head = struct.pack("<BBBBIII", 2, 1, 1 << 5 | 16, 2, *sizes)
        frames.append(head + struct.pack("<ii", 20, len(packed)) + packed)
    run = Run(frames, [len(data)] * 2)
    ((chunk, reason),) = run.decode()
    assert chunk == 1
    assert reason.endswith("expected 4000 bytes, 3990 bytes came out")
    np.testing.assert_array_equal(run[0], data)


def test_a_status_counts_even_if_the_size_is_right() -> None:
    class Doubtful(HostCodecs):
        def decompress(
            self, kind: int, table: StreamTable, temp: int, temp_bytes: int, stream: int
        ) -> None:
            super().decompress(kind, table, temp, temp_bytes, stream)
            memory(table.statuses, table.count, "i4")[0] = 13

    data, frame = sample("zstd")
    run = Run([frame] * 3, [len(data)] * 3)
    run.decoder = Decoder(HostDevice(), Doubtful(), 0)
    ((_, reason),) = run.decode()
    assert reason.endswith("expected 4000 bytes, nvcompErrorBadChecksum (13)")


def test_results_of_an_earlier_batch_do_not_count() -> None:
    class Lazy(HostCodecs):
        def decompress(self, *args: object) -> None:
            """Does nothing, as a launch that a dead context swallowed."""

    data, frame = sample()
    run = Run([frame] * 2, [len(data)] * 2)
    assert run.decode() == []
    run.decoder = Decoder(HostDevice(), Lazy(), 0)
    assert [chunk for chunk, _ in run.decode()] == [0, 1]


def test_damaged_headers_and_other_codecs_are_left_out() -> None:
    data, frame = sample()
    other = make.frame(data, 2, "zlib")
    frames = [frame, frame[:-1], other, frame]
    run = Run(frames, [len(data)] * 4)
    assert run.tables.on_host == [(2, "Blosc codec zlib")]
    assert [i for i, _ in run.tables.damaged] == [1]
    assert run.decode() == run.tables.damaged
    for i in (0, 3):
        np.testing.assert_array_equal(run[i], data)
    for i in (1, 2):
        assert (run[i] == GUARD).all()


def test_the_table_holds_every_address_once() -> None:
    """Words of 8 bytes: six a move, four a stream, whatever the batch."""
    rng = np.random.default_rng(1)
    made = make.some(rng, 60, "lz4", 1) + make.some(rng, 60, "zstd", 2)
    frames, sizes = [f for _, f in made], [len(d) for d, _ in made]
    tables: Tables = Run(frames, sizes).tables
    parsed = parse(frames, sizes)
    packed = np.count_nonzero(parsed.streams["kind"])
    moves = len(parsed.streams) - packed + len(parsed.blocks)
    assert tables.host.dtype == np.uint8
    assert len(tables.host) == 48 * moves + 32 * packed
    assert tables.results_bytes == 12 * packed


@pytest.fixture(scope="module")
def library() -> NvComp:
    try:
        return NvComp()
    except ImportError as error:
        pytest.skip(str(error))


def test_temporary_memory_is_known_without_a_gpu(library: NvComp) -> None:
    size = 128 * 1024
    for kind in (LZ4, ZSTD):
        found = [library.temp_bytes(kind, n, size, n * size) for n in (1, 10, 832)]
        assert found == sorted(found)
        assert found[-1] < 10 * 832 * size
    assert library.temp_bytes(ZSTD, 832, size, 832 * size) > size


def test_streams_need_no_alignment(library: NvComp) -> None:
    """The options are passed by value, so this also checks their place in the call."""
    for kind, name in nvcomp.NAMES.items():
        ask = getattr(nvcomp.library(), f"nvcompBatched{name}DecompressGetRequiredAlignments")
        found = (nvcomp.ctypes.c_size_t * 3)()
        assert ask(nvcomp.OPTIONS[kind](), found) == 0
        assert list(found)[:2] == [1, 1]
        assert found[2] <= 8


def test_a_refused_launch_is_named(library: NvComp) -> None:
    for kind, name in nvcomp.NAMES.items():
        message = rf"nvcompBatched{name}DecompressAsync returned nvcompErrorInvalidValue \(10\)"
        with pytest.raises(RuntimeError, match=message):
            library.decompress(kind, StreamTable(1, 0, 0, 0, 0, 0, 0), 0, 0, 0)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvcomp, "LIBRARY", "libnothing.so.0")
    nvcomp.library.cache_clear()
    try:
        with pytest.raises(ImportError, match=r"pip install 'fastload-eo\[cuda13\]'"):
            NvComp()
    finally:
        nvcomp.library.cache_clear()


LAYOUT = """
#include <cstdio>
#include <cstddef>
#include "nvcomp/lz4.h"
#include "nvcomp/zstd.h"
template <class T> void show(const T& options) {
  std::printf("%zu ", sizeof options);
  const unsigned char* const bytes = (const unsigned char*)&options;
  for (size_t i = 0; i < sizeof options; ++i) std::printf("%02x", bytes[i]);
}
int main() {
  show(nvcompBatchedLZ4DecompressDefaultOpts);
  typedef nvcompBatchedLZ4DecompressOpts_t Options;
  std::printf(" %zu %zu %zu %zu\\n", offsetof(Options, sort_before_hw_decompress),
    offsetof(Options, data_type), offsetof(Options, bitshuffle_mode), offsetof(Options, reserved));
  show(nvcompBatchedZstdDecompressDefaultOpts);
  std::printf(" %zu\\n", offsetof(nvcompBatchedZstdDecompressOpts_t, reserved));
  const nvcompStatus_t statuses[] = {nvcompErrorInvalidValue, nvcompErrorCannotDecompress,
    nvcompErrorOutputBufferTooSmall, nvcompErrorCudaError, nvcompErrorInternal};
  for (auto status : statuses) std::printf("%d ", (int)status);
}
"""


def test_options_are_as_the_headers_have_them(library: NvComp, tmp_path: Path) -> None:
    compiler = shutil.which("g++")
    headers = Path(nvcomp.library()._name).parent.parent / "include"
    if compiler is None or not headers.is_dir():
        pytest.skip("no C++ compiler, or no headers of nvCOMP")
    (tmp_path / "cuda_runtime.h").write_text("typedef struct CUstream_st* cudaStream_t;\n")
    (tmp_path / "layout.cpp").write_text(LAYOUT)
    command = [
        compiler,
        "-I",
        tmp_path,
        "-I",
        headers,
        tmp_path / "layout.cpp",
        "-o",
        tmp_path / "x",
    ]
    subprocess.run(command, check=True, timeout=120)
    shown = subprocess.run([tmp_path / "x"], capture_output=True, text=True, check=True, timeout=20)
    lines = shown.stdout.splitlines()
    for kind, line in zip((LZ4, ZSTD), lines, strict=False):
        options = nvcomp.OPTIONS[kind]()
        offsets = [getattr(nvcomp.OPTIONS[kind], name).offset for name, _ in options._fields_][1:]
        expected = [nvcomp.ctypes.sizeof(options), bytes(options).hex(), *offsets]
        assert line == " ".join(map(str, expected))
    names = ["InvalidValue", "CannotDecompress", "OutputBufferTooSmall", "CudaError", "Internal"]
    assert [nvcomp.STATUSES[int(s)] for s in lines[2].split()] == names


def test_the_host_twin_decodes_what_blosc_decodes() -> None:
    """What stands in for nvCOMP reads the streams as C-Blosc does."""
    data, frame = sample("zstd", shuffle=2)
    run = Run([frame], [len(data)])
    run.decode()
    assert run[0].tobytes() == numcodecs.blosc.decompress(frame)
