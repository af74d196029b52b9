"""`python -m benchmarks.gpu` as far as it goes without a GPU: all of its parts on the host twin,
the process that watches over them, and what is made of their results."""

import dataclasses
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import results
from benchmarks.gpu import (
    child,
    device,
    kernel_checks,
    loader_checks,
    pairs,
    parts,
    present,
    summary,
    timing,
    training,
    views,
)
from benchmarks.gpu import command as gpu
from benchmarks.gpu.bench import Bench, Skip
from benchmarks.gpu.options import QUICK, Options, parse
from benchmarks.gpu.parts import CHECKS, FIGURES, PARTS, Part, Result
from benchmarks.gpu.supervise import Supervisor
from benchmarks.gpu.timing import Work
from benchmarks.machine import REPOSITORY
from benchmarks.results import Comparison
from fastload_kernels import VIEW_PARAMS, View
from tests.fastload.host_codecs import HostCodecs
from tests.fastload.twin import OnHost, twin_queue

pytestmark = pytest.mark.timeout(280)
TINY = Options(
    seconds=1e-4, rounds=2, locations=4, batch=2, workers=1, size=48, crop=16, arch="resnet10t",
    copy_bytes=1 << 16,
)  # fmt: skip


def twin(options: Options = TINY) -> Bench:
    return Bench(options, twin_queue(), HostCodecs(), OnHost, "shim")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLOAD_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def passes(name: str, **changes: Any) -> Result:
    result = parts.run(name, twin(dataclasses.replace(TINY, **changes)))
    assert result.outcome in ("passed", "measured"), result.trace or result.detail
    assert result.detail
    return result


# Without a GPU.


def test_without_cuda_it_says_so_in_one_sentence_and_exits_with_2(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", "--json", str(tmp_path / "gpu.json")],
        cwd=REPOSITORY,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count(".\n") == done.stderr.count("\n") == 1
    assert "needs a CUDA device" in done.stderr
    assert not (tmp_path / "gpu.json").exists()


# Options.


def test_defaults_are_the_published_sizes() -> None:
    options = parse(list(PARTS), []).options
    assert (options.size, options.crop, options.batch, options.arch) == (264, 224, 64, "resnet50")
    assert parse(list(PARTS), []).only == ()


def test_options_are_read_and_quick_is_only_a_default() -> None:
    found = parse(
        list(PARTS),
        ["--quick", "--batch", "4", "--seconds", "0.25", "--only", "views", "kernel", "views"],
    )
    assert (found.options.batch, found.options.seconds) == (4, 0.25)
    assert found.options.locations == QUICK["locations"]
    assert found.only == ("views", "kernel")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rounds", "0"], "expected a positive number"),
        (["--seconds", "nan"], "expected a positive number"),
        (["--only", "nothing"], "invalid choice"),
        (["--locations", "3", "--batch", "4"], "--locations 3 do not fill a batch of 4"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(list(PARTS), argv)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


# Checks, on the host twin.


def checks_in(module: ModuleType) -> set[str]:
    """Functions that take a bench and give a sentence."""
    return {
        name
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and next(iter(inspect.signature(function).parameters), "") == "bench"
        and inspect.signature(function).return_annotation is str
    }


def test_every_check_and_figure_is_listed() -> None:
    listed = {getattr(part.run, "func", part.run).__name__ for part in CHECKS.values()}
    assert listed == checks_in(kernel_checks) | checks_in(loader_checks)
    assert list(FIGURES) == ["kernel", "augmentation", "decoding", "pairs", "training"]
    assert set(PARTS) == set(CHECKS) | set(FIGURES)
    for name in parts._LOADER:
        assert {f"{name}-{engine}" for engine in pairs.ENGINES} <= set(CHECKS)


def test_needs_are_known() -> None:
    for name, part in PARTS.items():
        assert set(part.needs) <= set(present.NEEDS), name


def test_kernel_tests_that_are_run_are_there() -> None:
    for name in ("philox", "draws", "views", "batches-of-views"):
        path = PARTS[name].run.keywords["path"]  # type: ignore[attr-defined]
        text = (REPOSITORY / path).read_text()
        assert "PLACES" in text or "place" in text, path


def test_kernel_tests_run_and_are_counted() -> None:
    result = passes("philox")
    assert int(result.detail.split()[0]) >= 2


def test_failing_and_missing_kernel_tests_fail_the_check(tmp_path: Path) -> None:
    path = tmp_path / "test_some.py"
    path.write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('place', ['shim', 'cuda'])\n"
        "def test_it(place):\n    assert place != 'shim', 'broken'\n"
        "@pytest.mark.parametrize('place', ['cuda'])\n"
        "def test_gpu(place):\n    pytest.skip('no CUDA device')\n"
    )
    with pytest.raises(AssertionError, match=r"1 of 1 tests failed: test_it\[shim\]"):
        kernel_checks.tests_of(twin(), str(path))
    on_gpu = dataclasses.replace(twin(), tests="cuda")
    assert kernel_checks.tests_of(on_gpu, str(path)) == "1 tests"
    with pytest.raises(AssertionError, match="every test on cuda was skipped"):
        kernel_checks.tests_of(on_gpu, f"{path}::test_gpu")
    with pytest.raises(AssertionError, match="no test ran"):
        kernel_checks.tests_of(twin(), str(tmp_path / "test_none.py"))


@pytest.mark.parametrize("name", ["unshuffle", "frames"])
def test_checks_of_kernels(name: str) -> None:
    passes(name)


def test_frames_have_every_codec_shuffle_and_kind() -> None:
    made = kernel_checks.some_frames()
    flags = {frame[2] for _, frame in made}
    assert {flag >> 5 for flag in flags} == {0, 1, 3, 4}
    assert any(flag & 2 for flag in flags), "no frame is stored"
    assert {flag & 5 for flag in flags} >= {0, 1, 4}
    assert {frame[3] for _, frame in made} == {1, 2, 4, 8}


def test_a_decoder_that_does_nothing_fails_the_check() -> None:
    class Lazy(HostCodecs):
        def decompress(self, *args: object) -> None:
            """As a launch that was lost."""

    lazy = dataclasses.replace(twin(), codecs=Lazy())
    with pytest.raises(AssertionError, match=r"frames: the .* stream"):
        kernel_checks.frames(lazy)


@pytest.mark.parametrize("name", ["compile", "shared-memory"])
def test_what_only_a_gpu_has_is_skipped(name: str) -> None:
    result = parts.run(name, twin())
    assert result.outcome == "skipped"
    assert result.detail.startswith("the host has no")


def test_every_source_has_a_variant_to_compile() -> None:
    found = kernel_checks.variants()
    assert {name for name, _ in found} >= {"draw.cu", "measure.cu", "unshuffle.cu", "view.cu"}
    assert len(found) == len(set(found))


def test_shared_memory_of_all_methods_is_known() -> None:
    found = kernel_checks.largest_tiles()
    assert "moco_v2" in found
    assert all(0 < size <= 200 << 10 for size in found.values())


LOADER = [name for name in CHECKS if name.endswith(("-dali", "-threads"))]


@pytest.mark.parametrize("name", LOADER)
def test_checks_of_the_loader(name: str) -> None:
    if name.endswith("-dali"):
        pytest.importorskip("nvidia.dali")
    passes(name)


def test_a_loader_that_gives_other_pixels_fails_the_check() -> None:
    class Wrong(OnHost):
        def _delivered(self, batch: dict[str, Any]) -> Any:
            batch = super()._delivered(batch)
            batch["S2L1C"][0][-1, 0, 0, 0] += 1
            return batch

    bench = dataclasses.replace(twin(), open=Wrong)
    result = parts.run("held-batches-threads", bench)
    assert result.outcome == "failed"
    assert "off by" in result.detail
    assert "AssertionError" in result.trace


# Figures, on the host twin.


def test_compulsory_bytes_are_each_crop_once_and_each_view_once() -> None:
    params = np.zeros((2, 2), VIEW_PARAMS)
    params["height"], params["width"] = [[10, 4], [20, 4]], [[30, 5], [40, 5]]
    params["timestamp"][:, 1] = -1
    shown = (View(size=(8, 16), scale=(0.2, 1)), View(size=2, timestamp="all"))
    read = 2 * (10 * 30 + 20 * 40) + 2 * 3 * 2 * (4 * 5)
    written = 4 * 2 * 8 * 16 + 4 * 2 * 3 * 2 * 2
    assert views.compulsory(params, shown, (3, 13), 2, 4) == 13 * (read + written)


def test_addresses_are_where_the_planes_lie() -> None:
    pixels = torch.arange(2 * 3 * 4 * 5 * 6, dtype=torch.int16).reshape(2, 3, 4, 5, 6)
    found = views.addresses(pixels)
    assert found.shape == (2, 3)
    assert int(found[1, 2]) == pixels[1, 2].data_ptr()


@pytest.mark.parametrize(
    ("name", "figures"),
    [("kernel", 9), ("decoding", 6), ("training", 7)],
)
def test_figures(name: str, figures: int) -> None:
    result = passes(name, rounds=1)
    found = [f for race in result.races for f in race["figures"]]
    assert len(found) == figures
    assert all(len(f["rounds"]) == 1 for f in found)
    assert result.missing == []
    json.dumps(result.races)


def test_every_figure_of_the_kernel_has_an_aim() -> None:
    (race,) = passes("kernel").races
    assert [r["expected"] for r in race["ratios"]] == [0.8] * 4 + [0.5] * 4
    assert {r["under"] for r in race["ratios"]} == {"device copy"}


def test_peers_that_are_installed_give_what_they_say() -> None:
    found = views.augmentation(twin())
    there = [name for name in views.PEERS if present.lacking((name,)) is None]
    assert [m.outcome for m in found.missing] == ["skipped"] * (len(views.PEERS) - len(there))
    (race,) = found.races
    assert [f.name for f in race.figures] == ["fastload", *there]
    assert race.comparisons == tuple(Comparison("fastload", name, 10) for name in there)


@pytest.mark.long
def test_pairs_of_both_engines_and_of_the_published_path() -> None:
    if (why := present.lacking((*pairs.PUBLISHED, "DALI"))) is not None:
        pytest.skip(why)
    (race,) = passes("pairs").races
    assert [f["name"] for f in race["figures"]] == [
        "fastload, dali", "fastload, threads", "published path",
    ]  # fmt: skip
    assert len(race["ratios"]) == len(pairs.RATIOS)


def test_training_compares_speed_and_the_wait_for_data() -> None:
    name, cached = "fed by fastload, dali", training.CACHED_BATCHES
    spans = {cached: [(1.0, 0.0)] * 2, name: [(2.0, 0.1), (4.0, 0.2)]}
    found = training.summary("step", 10, spans)
    speed, wait = found.races
    assert speed.figure(name).rounds == (5, 2.5)
    assert speed.verdict(speed.comparisons[0]) == "below"
    assert wait.ratio(wait.comparisons[0]) == pytest.approx(0.95)
    assert wait.figure(f"a step {name}").rounds == (200, 400)


# Timing.


def work(name: str, run: Callable[[], Any], right: bool = True) -> Work:
    def check(_: Any) -> None:
        if not right:
            raise AssertionError(f"{name} is not what was asked for")

    return Work(name, run, 1.0, check)


def test_what_fails_is_left_out_and_named() -> None:
    def broken() -> None:
        raise ValueError("no such\n  operator")

    works = [work("ours", int), work("peer", int), work("broken", broken), work("bad", int, False)]
    aims = [Comparison("ours", "peer", 1), Comparison("ours", "broken", 10)]
    found = timing.compete(twin(), "race", "GB/s", works, aims)
    (race,) = found.races
    assert [f.name for f in race.figures] == ["ours", "peer"]
    assert race.comparisons == (aims[0],)
    assert [(m.name, m.outcome, m.reason) for m in found.missing] == [
        ("race: broken", "failed", "ValueError: no such operator"),
        ("race: bad", "failed", "AssertionError: bad is not what was asked for"),
    ]


def test_work_is_timed_in_turns_with_as_many_rounds_as_asked_for() -> None:
    turns: list[str] = []

    def turn(name: str) -> Callable[[], None]:
        return lambda: turns.append(name)

    options = dataclasses.replace(TINY, rounds=3, seconds=1e-9)
    found = timing.compete(twin(options), "r", "GB/s", [work(n, turn(n)) for n in "ab"], [])
    assert [len(f.rounds) for f in found.races[0].figures] == [3, 3]
    warm = 1 + 2 * timing.WARM_UP
    assert "".join(turns) == "a" * warm + "b" * warm + "ab" * 3 + "ab"


# Results.


def measured() -> Result:
    race = results.Race(
        "view kernel",
        (results.Figure("copy", (4.0, 2.0, 3.0)), results.Figure("view", (1.0, 3.0, 2.0), "n")),
        (Comparison("view", "copy", 0.8),),
        "GB/s",
    )
    result = Result("kernel", "figure", "measured", 2.0, "", memory={"torch_peak": 2 << 30})
    missing = results.Missing("view kernel: kornia", "skipped", "not installed")
    parts._take(result, parts.Found([race], [missing]))
    return result


def made_up() -> list[Result]:
    return [
        Result("views", "check", "passed", 1.5, "12 tests", memory={"torch_peak": 1 << 30}),
        Result("frames", "check", "failed", 0.5, "AssertionError: byte 7", "Traceback ..."),
        Result("compile", "check", "skipped", 0.0, "cupy is not installed"),
        measured(),
        Result("pairs", "figure", "failed", 0.1, "it gave no result within 3 s"),
    ]


def test_the_json_has_everything() -> None:
    machine = {"gpu": "a GPU", "commit": "abc"}
    found = json.loads(
        json.dumps(summary.as_json(made_up(), ["NOT ACTIVE"], machine, {"batch": 64}))
    )
    assert (found["machine"], found["options"]) == (machine, {"batch": 64})
    assert found["inactive"] == ["NOT ACTIVE"]
    assert found["peak_device_memory"] == 2 << 30
    assert [c["outcome"] for c in found["checks"]] == ["passed", "failed", "skipped"]
    assert found["checks"][1]["trace"] == "Traceback ..."
    (race,) = found["races"]
    assert race["figures"][0]["rounds"] == [4, 2, 3]
    assert race["ratios"][0]["verdict"] == "below"
    assert [(m["name"], m["outcome"]) for m in found["missing"]] == [
        ("frames", "failed"),
        ("compile", "skipped"),
        ("view kernel: kornia", "skipped"),
        ("pairs", "failed"),
    ]


def test_the_table_shows_aims_failures_skips_and_what_was_not_active() -> None:
    text = summary.text(made_up(), ["FAST PATH NOT ACTIVE: DALI."], {"cpu": "c", "commit": "abc"})
    assert "view / copy = 0.67, expected >= 0.8: below" in text
    assert "SKIPPED: view kernel: kornia: not installed" in text
    assert "FAILED: pairs: it gave no result within 3 s" in text
    assert "FAST PATH NOT ACTIVE: DALI." in text
    assert text.endswith("checks: 1 passed, 1 failed, 1 skipped")
    (row,) = [line for line in text.splitlines() if line.startswith("PASSED")]
    assert row.split() == ["PASSED", "views", "1.5", "s", "1.0", "GiB", "12", "tests"]


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["passed", "skipped"], 0),
        (["passed", "failed"], 1),
        (["skipped", "skipped"], 1),
    ],
)
def test_exit_code(outcomes: list[Any], code: int) -> None:
    checks = [Result(str(i), "check", outcome, 0, "") for i, outcome in enumerate(outcomes)]
    assert summary.exit_code(checks) == code
    assert summary.exit_code([measured()]) == 0


def test_results_of_a_part_that_fails_are_kept() -> None:
    def broken(bench: Bench) -> str:
        raise RuntimeError("an illegal memory access was encountered")

    def absent(bench: Bench) -> str:
        raise Skip("no such thing")

    def left_out(bench: Bench) -> str:
        pytest.skip("no C++ compiler")

    for function, outcome in ((broken, "failed"), (absent, "skipped"), (left_out, "skipped")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(PARTS, "some", Part(function))
            assert parts.run("some", twin()).outcome == outcome


ABSENT = (
    *("albumentations", "cupy", "cv2", "fsspec", "kornia", "lightning", "lz4", "matplotlib"),
    *("nvidia", "timm", "torchvision", "webdataset", "zarr", "zstandard"),
)


def test_nothing_optional_is_needed_to_import_it() -> None:
    """Where a library is absent, its parts are skipped, each with a reason."""
    program = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))
from benchmarks.gpu import command, present
from benchmarks.gpu.parts import PARTS
for line in present.inactive(): print(line)
print([n for n, part in PARTS.items() if present.lacking(part.needs) is None])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    *inactive, runnable = done.stdout.splitlines()
    assert [line.split(". ")[0] for line in inactive] == [
        f"FAST PATH NOT ACTIVE: {name}" for name in ("CuPy", "nvCOMP", "DALI")
    ]
    assert runnable == "['shared-memory', 'pairs']"


def test_what_is_not_installed_is_said_loudly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(present.NEEDS, "DALI", lambda: "DALI is not installed")
    monkeypatch.setitem(present.NEEDS, "CuPy", lambda: None)
    monkeypatch.setitem(present.NEEDS, "nvCOMP", lambda: None)
    (line,) = present.inactive()
    assert line.startswith("FAST PATH NOT ACTIVE: DALI. DALI is not installed; hence")
    assert present.lacking(("CuPy", "DALI")) == "DALI is not installed"
    assert present.lacking(("CuPy", "nvCOMP")) is None


# The process that watches over the parts.

CHILD = """
import json, os, signal, sys, time
file, *names = sys.argv[1:]
for name in names:
    if name == "crash": os.kill(os.getpid(), signal.SIGSEGV)
    if name == "hang": time.sleep(600)
    if name == "leave": sys.exit(5)
    outcome = "failed" if name == "break" else "passed"
    result = dict(name=name, kind="check", outcome=outcome, seconds=0.0, detail=str(os.getpid()))
    with open(file, "a") as out: out.write(json.dumps(result) + "\\n")
    if name == "break": sys.exit(70)
"""


def supervised(
    tmp_path: Path, names: list[str], patience: float = 60, seconds: float = 100
) -> dict[str, Result]:
    lines, found = tmp_path / "results.jsonl", list[Result]()

    def command(left: Any) -> list[str]:
        return [sys.executable, "-c", CHILD, str(lines), *left]

    Supervisor(command, lines, patience, monotonic() + seconds, found.append).run(names)
    assert [result.name for result in found] == names
    return {result.name: result for result in found}


def test_one_process_runs_all_parts_that_go_well(tmp_path: Path) -> None:
    found = supervised(tmp_path, ["a", "b", "c"])
    assert {r.outcome for r in found.values()} == {"passed"}
    assert len({r.detail for r in found.values()}) == 1


def test_a_crash_costs_only_its_part(tmp_path: Path) -> None:
    found = supervised(tmp_path, ["a", "crash", "b", "leave", "c"])
    assert [r.outcome for r in found.values()] == ["passed", "failed", "passed", "failed", "passed"]
    assert found["crash"].detail == "its process was ended by SIGSEGV"
    assert found["leave"].detail == "its process ended with exit code 5"


def test_a_device_in_error_gets_a_new_process(tmp_path: Path) -> None:
    found = supervised(tmp_path, ["a", "break", "b"])
    assert [r.outcome for r in found.values()] == ["passed", "failed", "passed"]
    assert found["a"].detail != found["b"].detail


def test_a_part_that_hangs_is_ended(tmp_path: Path) -> None:
    found = supervised(tmp_path, ["a", "hang", "b"], patience=2)
    assert [r.outcome for r in found.values()] == ["passed", "failed", "passed"]
    assert "no result within 2 s" in found["hang"].detail


def test_at_the_end_of_the_time_what_is_left_is_named(tmp_path: Path) -> None:
    found = supervised(tmp_path, ["a", "hang", "b"], seconds=3)
    assert [r.outcome for r in found.values()] == ["passed", "skipped", "skipped"]
    assert "--minutes" in found["b"].detail


def test_the_whole_command_with_the_host_as_its_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import sys\n"
        "from benchmarks.gpu import child\n"
        "from tests.benchmarks.test_gpu import twin\n"
        "child.Bench.on_gpu = twin\n"
        "sys.exit(child.main(sys.argv[1]))"
    )
    plain = child.command

    def command(*args: Any) -> list[str]:
        return [sys.executable, "-c", program, plain(*args)[-1]]

    monkeypatch.setattr(child, "command", command)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    machine = {"gpu": "the host", "driver": "none", "cuda": None, "commit": "abc"}
    monkeypatch.setattr(device, "describe", lambda: machine)
    file = tmp_path / "gpu.json"
    code = gpu.main(["--quick", "--json", str(file), "--only", "compile", "unshuffle", "decoding"])
    assert code == 0
    found = json.loads(file.read_text())
    assert [c["outcome"] for c in found["checks"]] == ["skipped", "passed"]
    assert [f["outcome"] for f in found["figures"]] == ["measured"]
    assert found["options"]["batch"] == QUICK["batch"]
    assert len(found["races"]) == 2
    printed = capsys.readouterr().out
    assert "decoding lz4" in printed
    assert "checks: 1 passed, 0 failed, 1 skipped" in printed
