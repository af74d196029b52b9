"""Processes that Slurm's srun started, without torchrun: its variables say who they are."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from ssl4eo_train.errors import SetupError

PORTS = range(15000, 31000)
"""Where the processes of a job meet; below the ports that systems hand out."""


@dataclass(frozen=True)
class Task:
    """One task of a step, and where the step's tasks meet."""

    rank: int
    size: int
    local_rank: int
    address: str
    port: int

    def __str__(self) -> str:
        return f"slurm: rank {self.rank} of {self.size}, which meet at {self.address}:{self.port}"


def task(env: Mapping[str, str]) -> Task | None:
    """The task that this process is; None where it is not one of several.

    A batch script and the shell of an allocation have the job's variables too, but not the step's.

    Raises:
        SetupError: where a variable that is needed is not there, or is no number.
    """
    size = _number(env, "SLURM_STEP_NUM_TASKS", 0)
    if not size and env.get("ENVIRONMENT") != "BATCH":
        size = _number(env, "SLURM_NTASKS", 1)
    if "SLURM_PROCID" not in env or size < 2:
        return None
    return Task(
        _number(env, "SLURM_PROCID"),
        size,
        _number(env, "SLURM_LOCALID"),
        env.get("MASTER_ADDR") or address(env),
        _number(env, "MASTER_PORT", 0) or port(env),
    )


def note(env: Mapping[str, str]) -> str | None:
    """A sentence for a process that is alone in a job of several tasks; None for any other."""
    tasks = _number(env, "SLURM_NTASKS", 1)
    is_step = "SLURM_STEP_NUM_TASKS" in env
    if is_step or tasks < 2 or "SLURM_JOB_ID" not in env or task(env) is not None:
        return None
    return (
        f"slurm: the job has {tasks} tasks, but this process was not started by srun and trains "
        "alone; `srun python -m ssl4eo_train ...` makes one run of them"
    )


def address(env: Mapping[str, str]) -> str:
    """The first node of the step, which is rank 0's.

    Raises:
        SetupError: where no variable lists the nodes.
    """
    text = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST") or ""
    names = nodes(text)
    alone = _number(env, "SLURM_STEP_NUM_NODES", 0) or _number(env, "SLURM_NNODES", len(names))
    if alone == 1:
        return "127.0.0.1"  # Also where the node's own name has no address.
    if not names:
        raise SetupError("slurm: SLURM_JOB_NODELIST lists no node; set MASTER_ADDR to rank 0's")
    return names[0]


def port(env: Mapping[str, str]) -> int:
    """A port that all tasks of a step agree upon, and that other jobs and steps hardly have."""
    job, step = _number(env, "SLURM_JOB_ID", 0), _number(env, "SLURM_STEP_ID", 0)
    return PORTS[(job + 7919 * step) % len(PORTS)]


def nodes(text: str) -> list[str]:
    """The names in a list of nodes such as ``node[01-03,7],gpu1``.

    Raises:
        SetupError: where it cannot be read.
    """
    # Commas within brackets belong to these.
    words = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text)
    if ",".join(words) != text:
        raise SetupError(f"slurm: {text!r} is not a list of nodes; set MASTER_ADDR to rank 0's")
    return [name for word in words for name in _expanded(word)]


def _expanded(word: str) -> list[str]:
    """The names of one word; each bracket in it stands for several texts."""
    parts = re.split(r"\[([^\[\]]*)\]", word)  # Text, bracket, text, ...
    choices = [_ranges(part) if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(name) for name in product(*choices)]


def _ranges(text: str) -> list[str]:
    """``01-03,7`` as 01, 02, 03, 7: a range keeps the width of its first number."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not (first.isdigit() and (last or first).isdigit()):
            raise SetupError(
                f"slurm: [{text}] are no numbers of nodes; set MASTER_ADDR to rank 0's"
            )
        found += [f"{n:0{len(first)}d}" for n in range(int(first), int(last or first) + 1)]
    return found


def _number(env: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = env.get(name, "" if default is None else str(default))
    if not text.isdigit():
        raise SetupError(f"slurm: {name} is {text!r}, expected a whole number")
    return int(text)
