"""(d) Decoding alone, all timestamps, against a bare Blosc loop over the same chunks."""

from functools import partial
from typing import Any

import numpy as np
import torch

from benchmarks import check, ours
from benchmarks.conftest import RunRace, Setup
from benchmarks.data import Shards
from benchmarks.measure import Contestant
from benchmarks.peers import bare_blosc
from benchmarks.results import Comparison


def test_decode(run_race: RunRace, setup: Setup, shards: Shards) -> None:
    B = setup.small_batch
    dtype = shards.pixels(next(iter(shards.samples))).dtype
    torch_dtype = torch.from_numpy(np.empty(0, dtype)).dtype

    def equal(name: str, keys: Any, batch: Any) -> None:
        for key, pixels in zip(keys, batch, strict=True):
            assert np.array_equal(pixels, shards.pixels(key)), f"{name}: {key} differs from zarr's"

    def check_ours(batch: Any) -> None:
        pixels = batch[shards.modality]
        check.tensor("fastload", pixels, (B, *shards.shape), torch_dtype)
        equal("fastload", batch["key"], pixels.numpy())

    def check_bare(batch: Any) -> None:
        equal("bare loop", *batch)

    arguments = (shards, None, B, setup.workers)
    run_race(
        f"(d) decoding alone: {list(shards.shape)} {dtype}",
        [
            Contestant(
                "fastload",
                partial(ours.stream, *arguments),
                check_ours,
                B,
                note="raw batches, shuffled, checksums verified",
            ),
            Contestant(
                "fastload, dali",
                partial(ours.stream, *arguments, "dali"),
                check_ours,
                B,
                note="the same by the DALI engine",
            ),
            Contestant(
                "fastload, check_crc=False",
                partial(ours.stream, *arguments, check_crc=False),
                check_ours,
                B,
                note="what the checksums cost",
            ),
            Contestant(
                "bare Blosc loop",
                partial(bare_blosc.stream, shards, B, setup.workers, dtype),
                check_bare,
                B,
                note="no checksums, no order, no batch of its own",
            ),
        ],
        [
            Comparison("fastload", "bare Blosc loop", 0.9),
            Comparison("fastload, dali", "fastload", 0.9),
            Comparison("fastload", "fastload, check_crc=False"),
        ],
    )
