"""B6: the tasks that srun starts form one run, and nothing else is taken for them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssl4eo_train import checkpoint, distributed, slurm
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.slurm import Task
from ssl4eo_train.tracking import NAME
from tests.ssl4eo_train.cluster import cluster, lacking
from tests.ssl4eo_train.runs import QUIET, begin, free_port, losses, words

pytestmark = pytest.mark.timeout(60)

JOB = {"SLURM_JOB_ID": "77", "SLURM_NTASKS": "8", "SLURM_NNODES": "2",
       "SLURM_JOB_NODELIST": "gpu[09-10]"}  # fmt: skip
STEP = JOB | {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_ID": "0",
              "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_NUM_NODES": "2",
              "SLURM_STEP_NODELIST": "gpu[09-10]"}  # fmt: skip
SCRIPT = JOB | {"ENVIRONMENT": "BATCH", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("vm", ["vm"]),
        ("a,b-1", ["a", "b-1"]),
        ("node[01-03,7]", ["node01", "node02", "node03", "node7"]),
        ("node[9-11],x", ["node9", "node10", "node11", "x"]),
        ("r[1-2]n[08,10]", ["r1n08", "r1n10", "r2n08", "r2n10"]),
        ("n[1-2]-ib", ["n1-ib", "n2-ib"]),
        ("", []),
    ],
)
def test_lists_of_nodes(text: str, names: list[str]) -> None:
    assert slurm.nodes(text) == names


@pytest.mark.parametrize("text", ["n[1-2", "n]", "n[1-b]", "n[]", ",a", "a,,b", "n[[1]]"])
def test_what_is_no_list_of_nodes_is_refused(text: str) -> None:
    with pytest.raises(SetupError, match="set MASTER_ADDR to rank 0's"):
        slurm.nodes(text)


def test_a_task_of_a_step() -> None:
    task = slurm.task(STEP)
    assert task == Task(5, 8, 1, "gpu09", 15077)
    assert str(task) == "slurm: rank 5 of 8, which meet at gpu09:15077"
    assert slurm.note(STEP) is None


def test_what_the_user_says_of_the_meeting_place_holds() -> None:
    task = slurm.task(STEP | {"MASTER_ADDR": "10.0.0.9", "MASTER_PORT": "4711"})
    assert task is not None
    assert (task.address, task.port) == ("10.0.0.9", 4711)


def test_a_step_may_have_fewer_tasks_than_its_job() -> None:
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1", "SLURM_STEP_NUM_NODES": "1"}
    task = slurm.task(STEP | step | {"SLURM_STEP_NODELIST": "gpu10"})
    assert task is not None
    assert (task.rank, task.size, task.address) == (1, 2, "127.0.0.1")
    alone = STEP | {"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}
    assert slurm.task(alone) is None
    assert slurm.note(alone) is None


def test_steps_and_jobs_meet_at_ports_of_their_own() -> None:
    ports = {slurm.port({"SLURM_JOB_ID": str(j), "SLURM_STEP_ID": str(s)})
             for j in range(70, 80) for s in range(5)}  # fmt: skip
    assert len(ports) == 50
    assert all(port in slurm.PORTS for port in ports)
    assert slurm.port({"SLURM_JOB_ID": "123456789"}) in slurm.PORTS


@pytest.mark.parametrize("env", [SCRIPT, JOB], ids=["batch script", "shell of an allocation"])
def test_a_process_that_srun_did_not_start_is_alone_and_told_so(env: dict[str, str]) -> None:
    assert slurm.task(env) is None
    said = slurm.note(env)
    assert said is not None
    assert "the job has 8 tasks" in said
    assert "`srun python -m ssl4eo_train ...`" in said
    assert slurm.note(env | {"SLURM_NTASKS": "1"}) is None


def test_outside_of_slurm_nothing_is_said() -> None:
    assert slurm.task({}) is None
    assert slurm.note({}) is None
    assert slurm.note({"SLURM_NTASKS": "4"}) is None


def test_numbers_that_are_none_are_named() -> None:
    with pytest.raises(SetupError, match="SLURM_PROCID is 'x', expected a whole number"):
        slurm.task(STEP | {"SLURM_PROCID": "x"})
    with pytest.raises(SetupError, match="SLURM_LOCALID is '', expected a whole number"):
        slurm.task({n: v for n, v in STEP.items() if n != "SLURM_LOCALID"})
    with pytest.raises(SetupError, match="lists no node"):
        slurm.task({n: v for n, v in STEP.items() if "NODELIST" not in n})


def test_torchrun_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (STEP | {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    assert distributed.environment() == World(1, 2, 1)


def test_the_world_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in STEP.items():
        monkeypatch.setenv(name, value)
    world = distributed.environment()
    assert (world.rank, world.size, world.local_rank) == (5, 8, 1)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu09", "15077")


@pytest.mark.long
@pytest.mark.timeout(600)
def test_b6_two_tasks_make_one_run(tmp_path: Path) -> None:
    """Two processes with what srun sets, and no more."""
    out = tmp_path / "run"
    step = STEP | {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1", "SLURM_NNODES": "1",
                   "SLURM_JOB_ID": str(free_port())}  # fmt: skip
    line = words(out, "--batch-size", "2", "--steps", "2")
    both = [begin(line, step | {"SLURM_PROCID": r, "SLURM_LOCALID": r}) for r in "01"]
    said = [process.communicate(timeout=500) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [f"slurm: rank {rank} of 2" in said[rank][0] for rank in (0, 1)] == [True, True]
    assert "batches of 2 x 2 processes" in said[0][0]
    assert [step for step, _ in losses(out)] == [1, 2]
    assert checkpoint.load(out)["step"] == 2


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a running cluster."""
    if (reason := lacking()) is not None:
        pytest.skip(reason)
    with cluster(tmp_path_factory.mktemp("cluster")) as env:
        yield env | QUIET


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_b6_srun_makes_one_run_and_its_notice_saves_it(
    real: dict[str, str], tmp_path: Path
) -> None:
    """B7 too: `srun`, `scancel --signal=USR1` as `sbatch --signal` sends it, and going on."""
    out = tmp_path / "run"
    more = ["--batch-size", "2", "--resume", "--steps"]
    srun = ["srun", "-n", "2", sys.executable, "-m", "ssl4eo_train", *words(out, *more)]
    first = subprocess.Popen(
        [*srun, "100000"], env=real, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not (out / NAME).exists() or len(losses(out)) < 5:
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    jobs = subprocess.run(
        ["squeue", "-h", "-o", "%i"], env=real, capture_output=True, text=True, check=True
    )
    subprocess.run(["scancel", "--signal=USR1", jobs.stdout.strip()], env=real, check=True)
    printed, errors = first.communicate(timeout=400)
    assert first.returncode == 128 + signal.SIGUSR1, (printed, errors)
    assert all(f"slurm: rank {rank} of 2" in printed for rank in (0, 1))
    saved = checkpoint.load(out)["step"]
    assert [step for step, _ in losses(out)] == list(range(1, saved + 1))
    again = subprocess.run(
        [*srun, str(saved + 2)], env=real, capture_output=True, text=True, timeout=400, check=False
    )
    assert again.returncode == 0, again.stderr
    assert checkpoint.load(out)["step"] == saved + 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_b6_a_script_without_srun_is_told_so(real: dict[str, str], tmp_path: Path) -> None:
    line = " ".join(words(tmp_path / "run", "--steps", "1"))
    script, log = tmp_path / "job.sh", tmp_path / "log"
    script.write_text(f"#!/bin/bash\n{sys.executable} -m ssl4eo_train {line}\n")
    batch = ["sbatch", "--wait", "-n", "2", "-o", str(log), str(script)]
    subprocess.run(batch, env=real, check=True, timeout=500)
    assert "slurm: the job has 2 tasks, but this process was not started by srun" in log.read_text()
    assert [step for step, _ in losses(tmp_path / "run")] == [1]
