"""(a) The published reading path: all timestamps, random crop, D4, standardised."""

from functools import partial
from typing import Any

import pytest
import torch

from benchmarks import check, ours
from benchmarks.conftest import RunRace, Setup
from benchmarks.data import Shards
from benchmarks.measure import Contestant
from benchmarks.results import Comparison
from fastload import Recipe
from fastload.statistics import statistics

SIZE = 224


def test_reading(run_race: RunRace, setup: Setup, shards: Shards) -> None:
    pytest.importorskip("webdataset")
    pytest.importorskip("albumentations")
    from benchmarks.peers import published

    B, (T, C, *_) = setup.small_batch, shards.shape
    mean, std = statistics("v1.1-webdataset").of(shards.modality, C)
    shape = (B, T, C, SIZE, SIZE)

    def check_ours(batch: Any) -> None:
        check.standardised("fastload", batch[shards.modality][0], shape, torch.float32)

    def check_peer(batch: Any, dtype: torch.dtype) -> None:
        check.standardised("published", batch["image"], shape, dtype)

    def peer(name: str, lean: bool, note: str) -> Contestant:
        return Contestant(
            name,
            partial(published.stream, shards, B, setup.workers, SIZE, mean, std, lean),
            partial(check_peer, dtype=torch.float32 if lean else torch.float64),
            B,
            burst=max(1, setup.workers),
            ahead=2 * setup.workers,
            note=note,
        )

    run_race(
        f"(a) reading: {T} timestamps, {C} bands, random crop {SIZE}, D4, standardised",
        [
            Contestant(
                "fastload",
                partial(ours.stream, shards, Recipe.series(SIZE), B, setup.workers),
                check_ours,
                B,
                note="float32, shuffled, checksums verified",
            ),
            peer("published", False, "as published: standardise whole images, float64"),
            peer("published, lean", True, "crop first, standardise in float32"),
        ],
        [
            Comparison("fastload", "published", 8),
            Comparison("fastload", "published, lean"),
        ],
    )
