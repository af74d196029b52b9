"""C7: ranks that found other data where the same should be tell each other."""

import shutil
from pathlib import Path

import pytest

from tests import nursery
from tests.fastload.made import dataset, root

SCRIPT = """
import sys, time
from datetime import timedelta
import torch.distributed as dist
from fastload import DataLoader, SSL4EOS12
rank, folder, sees = int(sys.argv[1]), sys.argv[2], sys.argv[3]
store = dist.FileStore(folder + "/meet", 2)
dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=60))
data = SSL4EOS12(sees, progress=False)
dist.barrier()
if rank == 1:
    while not __import__("os").path.exists(folder + "/begun"):
        time.sleep(0.05)
try:
    loader = DataLoader(data.subset(range(6)), 3, num_workers=1)
    next(iter(loader))
    print("LOADED")
except ValueError as error:
    print(error)
open(folder + "/begun", "w").close()
"""


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_c7_ranks_compare_what_they_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    """Files that still arrived when rank 0 looked; a rank alone in looking is not waited for."""
    for rank in (0, 1):
        shutil.copytree(root(), tmp_path / f"{rank}" / "data")
    if not same:
        last = sorted((tmp_path / "0/data/train/S2L1C").glob("*.tar"))[-1]
        last.unlink()
    dataset()  # so that nothing is compiled twice at once
    processes = []
    for rank in (0, 1):
        monkeypatch.chdir(tmp_path / str(rank))
        processes.append(nursery.python("-c", SCRIPT, rank, tmp_path, "data"))
    out = [process.communicate(timeout=120)[0] for process in processes]
    assert "LOADED" in out[0]  # it looked first
    if same:
        assert "LOADED" in out[1]
    else:
        assert "rank 1 found 21 samples" in out[1]
        assert "rank 0 20 samples" in out[1]
        assert "open the data when all of it is there" in out[1]
