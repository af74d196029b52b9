"""Small whole runs, on the loader tests' made data."""

import socket
from collections.abc import Mapping
from pathlib import Path

from ssl4eo_train.tracking import NAME, read
from tests import nursery
from tests.fastload import made

BATCH, SEED = 4, 3
STEPS_PER_EPOCH = made.LOCATIONS // BATCH
QUIET = {"OMP_NUM_THREADS": "1"}


def words(out: Path, *more: str, data: Path | None = None) -> list[str]:
    """A command line; what is said last counts."""
    return [
        *("--data", str(data or made.root()), "--out", str(out), "--arch", "test_resnet"),
        *("--image-size", "24", "--batch-size", str(BATCH), "--set", "queue=8"),
        *("--device", "cpu", "--workers", "1", "--seed", str(SEED), *more),
    ]


def losses(out: Path) -> list[tuple[float, float]]:
    """Step and loss of every step that was logged."""
    return [(row["step"], row["loss"]) for row in read(out / NAME)]


def sample_of(step: int, place: int = 0) -> int:
    """The sample at a place of a step, from 0, of the first epoch."""
    from fastload import DataLoader

    loader = DataLoader(made.dataset(), BATCH, shuffle=True, seed=SEED, drop_last=True)
    return int(loader.order(0)[step * BATCH + place])


def begin(line: list[str], env: Mapping[str, str]) -> nursery.Child:
    """Start a run in a process of its own."""
    return nursery.python("-m", "ssl4eo_train", *line, imported=nursery.TRAINING, **QUIET, **env)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
