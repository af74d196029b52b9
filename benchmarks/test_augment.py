"""(c) Augmentation alone: the MoCo-v2 view of pixels that lie decoded in memory."""

from functools import partial

import pytest
import torch

from benchmarks import check, ours
from benchmarks.conftest import RunRace, Setup
from benchmarks.data import Shards
from benchmarks.measure import Contestant, Stream
from benchmarks.peers import source
from benchmarks.results import Comparison
from fastload_kernels import Scaling
from ssl4eo_train.methods import moco_v2

SIZE = 224
SAMPLES = 32


def test_augment(run_race: RunRace, setup: Setup, shards: Shards) -> None:
    torchvision = pytest.importorskip("benchmarks.peers.augment_torchvision", exc_type=ImportError)
    kornia = pytest.importorskip("benchmarks.peers.augment_kornia", exc_type=ImportError)
    dali = pytest.importorskip("benchmarks.peers.augment_dali", exc_type=ImportError)
    B, (_, C, *_) = setup.large_batch, shards.shape
    pixels = source.pixels(shards, SAMPLES)
    scaling = Scaling.make(0, 1e-4, 0, 1, C)

    def contestant(name: str, stream: "partial[Stream]", note: str, burst: int = 1) -> Contestant:
        right = partial(check.reflectance, name, shape=(B, C, SIZE, SIZE), dtype=torch.float32)
        return Contestant(name, stream, right, B, burst, 2 * burst, note)

    def of_torch(name: str, peer: "partial[Stream]", note: str) -> Contestant:
        return contestant(name, peer, note, burst=max(1, setup.workers))

    arguments = (pixels, B, setup.workers, SIZE)
    view = moco_v2.recipe(SIZE).views[0]
    run_race(
        f"(c) augmentation alone: MoCo-v2 view of {SIZE}, {C} bands, int16 to float32",
        [
            contestant(
                "fastload kernel",
                partial(ours.views, pixels, view, scaling, B, setup.workers),
                "one fused pass, threads",
            ),
            of_torch(
                "torchvision",
                partial(torchvision.stream, *arguments),
                "v2, sample by sample, worker processes",
            ),
            of_torch("kornia", partial(kornia.stream, *arguments), "by batches, worker processes"),
            contestant("DALI", partial(dali.stream, *arguments), "CPU operators, threads"),
        ],
        [
            Comparison("fastload kernel", "torchvision", 20),
            Comparison("fastload kernel", "kornia"),
            Comparison("fastload kernel", "DALI", 10),
        ],
    )
