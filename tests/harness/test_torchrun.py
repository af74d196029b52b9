"""Plain torchrun, and the variables of Slurm's srun with torch.distributed."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload import DataLoader
from tests.fastload.made import REPOSITORY
from tests.harness import made, processes
from tests.harness.made import Seen, assert_same, data, straight

pytestmark = pytest.mark.timeout(300)


def ours(batch: int, **more: Any) -> DataLoader:
    return DataLoader(data(), batch, shuffle=True, num_workers=1, seed=1, **more)


def of_a_rank() -> Any:
    """Two epochs, and the same with an interruption after each of some batches."""
    whole, again = straight(ours(2)), []
    for stop in (1, len(ours(2)), len(ours(2)) + 2):
        first = ours(2)
        shown = [*islice(first, stop)]
        shown += [*islice(first, stop - len(shown))]
        second = ours(2)
        second.load_state_dict(first.state_dict())
        rest = [made.seen(e, batch) for e in range(second.epoch, 2) for batch in second]
        again.append([*whole[:stop], *rest])
        assert [batch["key"] for batch in shown] == [s.keys for s in whole[:stop]]
    return whole, again


def under_slurm() -> Any:
    """What a script does that srun started without torchrun."""
    rank, count = (int(os.environ[name]) for name in ("SLURM_PROCID", "SLURM_NTASKS"))
    address = f"tcp://127.0.0.1:{os.environ['MASTER_PORT']}"
    torch.distributed.init_process_group("gloo", address, rank=rank, world_size=count)
    return of_a_rank()


def check(ranks: list[Any]) -> None:
    alone = straight(ours(4))
    for rank, (whole, again) in enumerate(ranks):
        mine = [Seen(s.epoch, s.keys[rank::2], s.pixels[rank::2]) for s in alone]
        assert_same(whole, mine)
        for shown in again:
            assert_same(shown, mine)


SCRIPT = """
import sys
from pathlib import Path
import torch
from tests.harness import made, test_torchrun

made.root = lambda *_: Path(sys.argv[1])
torch.distributed.init_process_group("gloo")
out = test_torchrun.of_a_rank()
torch.save(out, Path(sys.argv[2]) / f"{torch.distributed.get_rank()}.pt")
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_torchrun(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
               str(script), str(made.root()), str(tmp_path)]  # fmt: skip
    paths = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'kernels'}"
    subprocess.run(command, check=True, timeout=250, env=os.environ | {"PYTHONPATH": paths})
    check([torch.load(tmp_path / f"{rank}.pt", weights_only=False) for rank in range(2)])


@pytest.mark.slow
def test_the_variables_of_srun(tmp_path: Path) -> None:
    check(processes.run(under_slurm, 2, tmp_path, slurm=True))
