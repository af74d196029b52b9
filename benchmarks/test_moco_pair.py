"""(b) The MoCo-v2 pair of the SSL4EO-S12 paper: two seasons, both views."""

from functools import partial
from typing import Any

import pytest
import torch

from benchmarks import check, ours
from benchmarks.conftest import RunRace, Setup
from benchmarks.data import Shards
from benchmarks.measure import Contestant
from benchmarks.results import Comparison
from ssl4eo_train.methods import moco_v2

SIZE = 224


def test_moco_pair(run_race: RunRace, setup: Setup, shards: Shards) -> None:
    pytest.importorskip("webdataset")
    pytest.importorskip("cv2")
    from benchmarks.peers import moco_stack

    B, (_, C, *_) = setup.large_batch, shards.shape

    def check_pair(views: Any, name: str) -> None:
        assert len(views) == 2, f"{name}: expected two views, got {len(views)}"
        for view in views:
            check.reflectance(name, view, (B, C, SIZE, SIZE), torch.float32)

    def check_ours(batch: Any) -> None:
        check_pair(batch[shards.modality], "fastload")

    def peer(name: str, lean: bool, note: str) -> Contestant:
        return Contestant(
            name,
            partial(moco_stack.stream, shards, B, setup.workers, SIZE, lean),
            partial(check_pair, name=name),
            B,
            burst=max(1, setup.workers),
            ahead=2 * setup.workers,
            note=note,
        )

    recipe = moco_v2.recipe(SIZE)
    run_race(
        f"(b) MoCo-v2 pair: two seasons, two views of {SIZE}, {C} bands",
        [
            Contestant(
                "fastload",
                partial(ours.stream, shards, recipe, B, setup.workers),
                check_ours,
                B,
                note="pairs; float32, shuffled, checksums verified",
            ),
            Contestant(
                "fastload, dali",
                partial(ours.stream, shards, recipe, B, setup.workers, "dali"),
                check_ours,
                B,
                note="the same by the DALI engine",
            ),
            peer("common stack", False, "decodes all seasons, uint8 as the published code"),
            peer("common stack, lean", True, "decodes two seasons, OpenCV where it helps"),
        ],
        [
            Comparison("fastload", "common stack", 10),
            Comparison("fastload", "common stack, lean"),
            Comparison("fastload, dali", "fastload", 0.9),
        ],
    )
