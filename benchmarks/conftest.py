"""Options, shards, and what is printed and written at the end of a run."""

import json
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks import machine, report
from benchmarks.data import Shards
from benchmarks.measure import Contestant, race
from benchmarks.results import Comparison, Missing, Race, Run
from fastload.processors import processors
from fastload.synth import synth

HERE = Path(__file__).parent


@dataclass
class Found:
    """What this session has found so far."""

    races: list[Race] = field(default_factory=list)
    missing: list[Missing] = field(default_factory=list)
    machine: dict[str, object] = field(default_factory=dict)


FOUND = pytest.StashKey[Found]()


@dataclass(frozen=True)
class Setup:
    """The options that every benchmark needs."""

    workers: int
    rounds: int
    seconds: float
    large_batch: int
    small_batch: int


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options of `pytest benchmarks/`."""
    group = parser.getgroup("fastload benchmarks")
    group.addoption("--data", metavar="ROOT", help="real shards instead of made ones")
    group.addoption("--shards", type=int, default=2, help="how many shards of ROOT are read")
    group.addoption("--split", default="train", help="split below ROOT")
    group.addoption("--modality", default="S2L1C", choices=("S2L1C", "S2L2A"))
    group.addoption("--workers", type=int, default=processors(), help="default: all cores")
    group.addoption("--locations", type=int, default=96, help="size of the made dataset")
    group.addoption("--rounds", type=int, default=5, help="interleaved rounds of each contestant")
    group.addoption("--seconds", type=float, default=1.5, help="about how long a round is timed")
    group.addoption("--large-batch", type=int, default=16, help="samples a batch, views")
    group.addoption("--small-batch", type=int, default=8, help="samples a batch, time series")
    group.addoption("--results", metavar="DIR", default=str(HERE / "results"))


def pytest_configure(config: pytest.Config) -> None:
    """Look at the machine before the benchmarks load it."""
    config.stash[FOUND] = Found(machine=machine.describe())


@pytest.fixture(scope="session")
def setup(pytestconfig: pytest.Config) -> Setup:
    """Workers, rounds and batch sizes of this run."""
    option = pytestconfig.getoption
    return Setup(
        option("--workers"),
        option("--rounds"),
        option("--seconds"),
        option("--large-batch"),
        option("--small-batch"),
    )


@pytest.fixture(scope="session")
def shards(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Shards with a warm page cache: those of `--data`, or made ones."""
    option = pytestconfig.getoption
    split, modality = option("--split"), option("--modality")
    root = tmp_path_factory.mktemp("shards")
    if option("--data"):
        found = Shards.first(Path(option("--data")), split, modality, option("--shards"), root)
    else:
        locations = option("--locations")
        # At least one shard a worker, since webdataset gives whole shards to workers.
        per_shard = max(1, locations // max(4, option("--workers")))
        synth(root, locations, split=split, modalities=[modality], samples_per_shard=per_shard)
        found = Shards.find(root, split, modality, f"made by fastload.synth, {locations} locations")
    os.environ["FASTLOAD_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    size = found.warm()
    pytestconfig.stash[FOUND].machine |= {
        "cache": "warm: every shard was read once before",
        "data": f"{found.origin}; {modality} {list(found.shape)}, {size / 2**20:.0f} MiB",
        "workers": option("--workers"),
        "rounds": option("--rounds"),
        "seconds_a_round": option("--seconds"),
    }
    return found


RunRace = Callable[[str, Sequence[Contestant], Sequence[Comparison]], Race]


@pytest.fixture
def run_race(pytestconfig: pytest.Config, setup: Setup, benchmark: BenchmarkFixture) -> RunRace:
    """Race contestants and keep what was found for the report."""

    def run(
        title: str, contestants: Sequence[Contestant], comparisons: Sequence[Comparison]
    ) -> Race:
        found = race(
            title,
            contestants,
            comparisons,
            rounds=setup.rounds,
            seconds=setup.seconds,
            pedantic=benchmark.pedantic,
        )
        pytestconfig.stash[FOUND].races.append(found)
        return found

    return run


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep failures and skips, so that the report names them."""
    result = yield
    if result.failed or result.skipped:
        text = result.longrepr
        reason = text[-1] if isinstance(text, tuple) else _last_line(str(text))
        missing = Missing(item.nodeid, "failed" if result.failed else "skipped", reason)
        item.config.stash[FOUND].missing.append(missing)
    return result


def _last_line(text: str) -> str:
    """The line of a traceback that says what went wrong."""
    lines = [line[1:].strip() for line in text.splitlines() if line.startswith("E ")]
    return lines[0] if lines else text.strip().splitlines()[-1]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the table; write the JSON and the chart."""
    found = config.stash[FOUND]
    if not found.races and not found.missing:
        return
    run = Run(sorted(found.races, key=lambda r: r.title), found.missing, found.machine)
    folder = Path(config.getoption("--results"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "latest.json").write_text(json.dumps(report.as_json(run), indent=2) + "\n")
    terminalreporter.section("fastload benchmarks")
    terminalreporter.write_line(report.table(run))
    if found.races:
        report.chart(run, folder / "latest.png")
    terminalreporter.write_line(f"written to {folder}")
