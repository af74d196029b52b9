"""Checks of kernels and decoders on the device, without a loader."""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numcodecs import blosc
from numpy.typing import NDArray

from benchmarks.gpu.bench import Bench, Skip, from_tests
from benchmarks.gpu.decoding import described
from benchmarks.machine import REPOSITORY
from fastload.engines.device.decode import Decoder
from fastload.processors import processors
from fastload_kernels.cuda.launch import OPTIONS, Defines, source_text
from fastload_kernels.cuda.planning import plan_views
from fastload_kernels.cuda.shuffle import MOVE, cut, unshuffle
from ssl4eo_train.methods import METHODS

TEST_SECONDS = 170
STATIC_SHARED = 64  # bytes that the kernels declare themselves, at most
TYPESIZES = (1, 2, 4, 8)


def compiling(bench: Bench) -> str:
    """Every source, as every variant that is used, for the device's own architecture, as launches
    compile it. It is loaded, too, and CuPy keeps it on disk, which the checks that follow gain by.
    """
    if not bench.is_cuda:
        raise Skip("the host has no architecture to compile for")
    import cupy

    def load(job: tuple[str, Defines]) -> None:
        source, defines = job
        options = (*OPTIONS, *(f"-D{name}={value}" for name, value in defines))
        with torch.cuda.device(bench.device):
            cupy.RawModule(code=source_text(source), options=options).compile()

    jobs = variants()
    with ThreadPoolExecutor(processors()) as pool:
        list(pool.map(load, jobs))
    major, minor = torch.cuda.get_device_capability(bench.device)
    return f"{len(jobs)} variants for sm_{major}{minor}"


def variants() -> list[tuple[str, Defines]]:
    """Names of sources, with every set of macros that they are used with."""
    tests = from_tests("kernels.cuda.test_compile")
    return [(name, d) for name in tests.FILES for d in tests.VARIANTS.get(name, [()])]


def shared_memory(bench: Bench) -> str:
    """Every method's published views fit into the shared memory that a block may have here."""
    if not bench.is_cuda:
        raise Skip("the host has no limit")
    properties = torch.cuda.get_device_properties(bench.device)
    limit = int(properties.shared_memory_per_block_optin)
    worst = largest_tiles()
    too_large = [f"{name}: {size}" for name, size in worst.items() if size + STATIC_SHARED > limit]
    assert not too_large, f"more than the {limit} bytes of this device: {'; '.join(too_large)}"
    return f"{max(worst.values())} bytes of {limit}"


def largest_tiles() -> dict[str, int]:
    """Bytes of shared memory that a block of each method's recipe takes, at their most."""
    found = {}
    for name, method in METHODS.items():
        p = method.PUBLISHED
        views = method.recipe(p.image_size, p.arch, method.Options()).views
        found[name] = max(
            plan_views(views, (4, 13, 264, 264), "int16", dtype, last).shared
            for dtype in ("float32", "float16", "bfloat16")
            for last in (False, True)
        )
    return found


def tests_of(bench: Bench, path: str) -> str:
    """Run a file of the kernels' tests, those on this device, in a process of their own."""
    found, output = run_tests(bench.tests, [path])
    assert found, f"{path}: no test ran: {output}"
    ran = [case for case in found if bench.tests in case.get("name", "") and not _has(case, "skip")]
    bad = [case.get("name", "") for case in found if _has(case, "fail") or _has(case, "error")]
    assert not bad, f"{len(bad)} of {len(found)} tests failed: {', '.join(bad[:8])}; {output}"
    assert ran, f"{path}: every test on {bench.tests} was skipped: {output}"
    return f"{len(ran)} tests"


def _has(case: ElementTree.Element, outcome: str) -> bool:
    return any(part.tag.startswith(outcome) for part in case)


def run_tests(device: str, paths: Sequence[str]) -> tuple[list[ElementTree.Element], str]:
    """Run those tests whose name holds a device's; their results, and the last line printed."""
    others = " and ".join(f"not {name}" for name in ("shim", "cuda") if name != device)
    wanted = device if device == "shim" else f"{device} and {others}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command += ["-k", wanted, "--junitxml", str(report), *paths]
        done = subprocess.run(
            command, cwd=REPOSITORY, capture_output=True, text=True, timeout=TEST_SECONDS
        )
        lines = (done.stdout + done.stderr).strip().splitlines()
        cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    return cases, lines[-1] if lines else "nothing was printed"


def unshuffling(bench: Bench) -> str:
    """Byte and bit shuffle of every type size are undone, from any address to any other."""
    rng, cases = np.random.default_rng(0), 0
    for typesize in TYPESIZES:
        for bits in (False, True):
            for elements in (8, 64, 4096, 100_000):
                for skip in (0, 1, 5):
                    data = rng.integers(0, 256, elements * typesize, np.uint8)
                    found = _undone(bench, shuffled(data, typesize, bits), typesize, bits, skip)
                    what = f"{elements} elements of {typesize} bytes, bits: {bits}, shift {skip}"
                    np.testing.assert_array_equal(found, data, what)
                    cases += 1
    return f"{cases} blocks"


def shuffled(data: NDArray[np.uint8], typesize: int, bits: bool) -> NDArray[np.uint8]:
    """Blosc's filters by their definition: byte or bit planes of whole elements."""
    elements = data.reshape(-1, typesize)
    if not bits:
        return np.ascontiguousarray(elements.T).reshape(-1)
    planes = np.unpackbits(elements, axis=1, bitorder="little").T
    return np.packbits(planes, axis=1, bitorder="little").reshape(-1)


def _undone(
    bench: Bench, data: NDArray[np.uint8], typesize: int, bits: bool, skip: int
) -> NDArray[np.uint8]:
    queue, padded = bench.queue, np.concatenate([np.zeros(skip, np.uint8), data])
    with queue.work():
        source, target = queue.upload(padded), queue.empty((len(data) + 8,), torch.uint8)
        start = 7 - skip  # of the target, so that both are aligned differently
        rows = np.zeros(1, MOVE)
        rows["src"], rows["dst"] = source.data_ptr() + skip, target.data_ptr() + start
        rows["size"], rows["typesize"], rows["bits"] = len(data), typesize, bits
        pieces = cut(rows)
        unshuffle(queue.runner, queue.upload(rows.view(np.uint8)), 1, pieces, 0)
        return target[start : start + len(data)].cpu().numpy()


def frames(bench: Bench) -> str:
    """Blosc frames of every kind, decoded in one batch by nvCOMP, against what went in.

    Raises:
        Skip: without nvCOMP.
    """
    if bench.codecs is None:
        raise Skip("nvCOMP is not installed")
    queue, made = bench.queue, some_frames()
    sizes = [len(content) for content, _ in made]
    with queue.work():
        moved = queue.upload(np.frombuffer(b"".join(frame for _, frame in made), np.uint8))
        out = queue.empty((sum(sizes),), torch.uint8).fill_(0xA5)
        begin = np.cumsum([0, *(len(frame) for _, frame in made)])[:-1] + moved.data_ptr()
        places = np.cumsum([0, *sizes])[:-1]
        decoder = Decoder(queue.runner, bench.codecs, queue.handle)
        tables = described(
            decoder,
            [f for _, f in made],
            sizes,
            begin.astype(np.uint64),
            (places + out.data_ptr()).astype(np.uint64),
        )
        table = queue.upload(tables.host)
        scratch = queue.empty((tables.scratch_bytes,), torch.uint8)
        results = queue.empty((tables.results_bytes,), torch.uint8)
        decoder.enqueue(tables, table.data_ptr(), scratch.data_ptr(), results.data_ptr())
        pixels, outcome = out.cpu().numpy(), results.cpu().numpy()
    failed = decoder.failed(tables, outcome)
    assert not failed, f"{len(failed)} of {len(made)} frames: {failed[0][1]}"
    left = {i for i, _ in tables.on_host}
    for i, ((content, frame), start) in enumerate(zip(made, places, strict=True)):
        found = pixels[start : start + len(content)]
        if i in left:
            assert (found == 0xA5).all(), f"frame {i} is for the CPU, and yet it was written"
        else:
            np.testing.assert_array_equal(found, content, f"frame {i}: {frame[:16].hex(' ')}")
    return f"{len(made) - len(left)} frames, {len(left)} left to the CPU"


def some_frames() -> list[tuple[NDArray[np.uint8], bytes]]:
    """Contents that compress well, badly or not at all, with their frames: every codec, type size,
    shuffle and level, forced and free block sizes, one block and many."""
    rng, made = np.random.default_rng(0), []
    for codec in ("lz4", "lz4hc", "zstd", "blosclz", "zlib"):
        for typesize in TYPESIZES:
            for shuffle in (0, 1, 2):
                for level in (0, 1, 5, 9):
                    elements = int(2 ** rng.uniform(3, 17))
                    content = _content(rng, elements, typesize)
                    block = int(rng.choice([0, 0, 300, 4096, 30000]))
                    items = content.view(f"V{typesize}")
                    frame = blosc.compress(items, codec.encode(), level, shuffle, block)
                    made.append((content, bytes(frame)))
    return made


def _content(rng: np.random.Generator, elements: int, typesize: int) -> NDArray[np.uint8]:
    steps = int(rng.choice([1, 3, 40, 0]))  # constant, smooth, noisy, random
    if steps == 0:
        return rng.integers(0, 256, elements * typesize, np.uint8)
    walk = np.cumsum(rng.integers(0, steps, elements)).astype(f"u{typesize}")
    return walk.view(np.uint8)
