"""Our side of the runs: the learners, trained as `ssl4eo_train.train` trains them, in float64."""

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl4eo_train import backbones
from ssl4eo_train.methods import METHODS, Learner, Progress, Samples, Settings, masks
from tests.originals import cases, rule
from tests.originals.cases import BATCH, DEPTH, FEW, QUEUE, RATIO, SIDE, SMALL, STEPS
from tests.originals.names import Names, names
from tests.originals.trace import Trace

DINO = {**cases.DINO_HEAD, "warmup": 0.0, "drop_path": 0.0, "clip": cases.CLIP}
Options = Mapping[str, Any]
RUNS: dict[str, tuple[str, str, Options, Options]] = {
    "moco_v2": ("moco_v2", "resnet26", cases.MOCO_V2, {"queue": QUEUE}),
    "moco_v3": ("moco_v3", "test_vit", cases.MOCO_V3, {**cases.MOCO_V3_HEAD, "warmup": 1.0}),
    "dino_resnet": ("dino", "resnet18", cases.DINO_RESNET, DINO),
    "dino_vit": ("dino", "test_vit", {**cases.DINO_VIT, "small": 0}, DINO),
    "dino_vit_local": ("dino", "test_vit", cases.DINO_VIT, DINO),
    "mae": (
        "mae",
        "test_vit",
        cases.MAE,
        {"warmup": 1.0, **{"decoder_" + name: size for name, size in cases.MAE_DECODER.items()}},
    ),
    "data2vec": (
        "data2vec",
        "test_vit",
        cases.DATA2VEC,
        {"warmup": 0.0, "drop_path": 0.0, "attention_drop": 0.0, "clip": cases.CLIP,
         "target_blocks": cases.DATA2VEC["blocks"]},
    ),
    "seco": ("seco", "resnet18", cases.SECO, {"queue": QUEUE}),
    "seco_moco": ("seco", "resnet18", cases.SECO, {"queue": QUEUE, "data_mode": "moco"}),
}  # fmt: skip
"""By case: method, backbone, sizes, options. Options differ from the published ones as cases do."""
TRANSFORMER = {"depth": DEPTH, "mlp_ratio": RATIO}
SMALLER: dict[str, Options] = {
    **{case: TRANSFORMER for case, (_, arch, *_) in RUNS.items() if arch == "test_vit"},
    "moco_v2": {"layers": cases.LAYERS},
    "dino_resnet": {"layers": cases.LAYERS},
}
"""What differs from timm's backbone."""
VIEWS = {
    "moco_v2": 2, "moco_v3": 2, "dino_resnet": 2, "dino_vit": 2, "dino_vit_local": 2, "mae": 1,
    "data2vec": 1, "seco": 4, "seco_moco": 2,
}  # fmt: skip
"""Large views of a step."""


def batch(case: str) -> int:
    """Samples of a step."""
    return BATCH if RUNS[case][1] == "test_vit" else FEW


@contextmanager
def float64() -> Iterator[pytest.MonkeyPatch]:
    """Within this context nothing is cast to float32, on one thread, and transformers are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tensor, "float", Tensor.double)
        yield patch
    torch.set_num_threads(threads)


def build(case: str, patch: pytest.MonkeyPatch) -> Learner:
    """Make a case's learner with the weights of the rule."""
    method, arch, sizes, options = RUNS[case]
    if case in SMALLER:
        patch.setattr(backbones, "build", functools.partial(backbones.build, **SMALLER[case]))
    learner = (
        METHODS[method]
        .build(
            Settings(
                arch=arch,
                bands=sizes["bands"],
                image_size=SIDE,
                batch=batch(case),
                seed=0,
                options=METHODS[method].Options(**options),
            )
        )
        .double()
    )
    fill(learner, names(case))
    return learner


@torch.no_grad()
def fill(learner: Learner, names: Names) -> None:
    """Give leader and follower the weights of the rule; DINO copies the latter at the start."""
    named = names.leader(learner.named_parameters())
    fixed = [n for n, p in named.items() if "pos_embed" in n and not p.requires_grad]
    for which in (names.leader, names.follower):
        for name, parameter in which(learner.named_parameters()).items():
            if name not in fixed:
                parameter.copy_(torch.from_numpy(rule.weight(name, tuple(parameter.shape))))
    if hasattr(learner, "queue"):
        learner.queue.copy_(torch.from_numpy(rule.queue("queue", tuple(learner.queue.shape))))


def floats(learner: Learner) -> Iterable[tuple[str, Tensor]]:
    """Parameters and buffers, but for counters and indices."""
    tensors = [*learner.named_parameters(), *learner.named_buffers()]
    return [(name, x) for name, x in tensors if x.is_floating_point()]


def run(case: str) -> Trace:
    """Train for the steps of a case, and keep what is recorded of its original."""
    method, _, sizes, _ = RUNS[case]
    trace, known = Trace(), names(case)
    sides = (SIDE,) * VIEWS[case] + (SMALL,) * sizes.get("small", 0)
    with float64() as patch:
        learner = build(case, patch)
        optimizer = learner.optimizer(sizes["lr"])
        for step in range(STEPS):
            force_masks(learner, method, step, patch)
            views = [
                torch.from_numpy(rule.images(step, i, (batch(case), sizes["bands"], side, side)))
                for i, side in enumerate(sides)
            ]
            progress = Progress(step, sizes["per_epoch"], sizes["epochs"])
            samples = Samples(0, step // sizes["per_epoch"], np.arange(batch(case)))
            rate = learner.before_step(optimizer, progress)
            optimizer.zero_grad(set_to_none=True)
            loss, _ = learner(views, samples)
            loss.backward()
            learner.after_backward(progress)
            if step == 0:
                named = known.leader(learner.named_parameters())
                trace.state("gradient", {n: p.grad for n, p in named.items() if p.grad is not None})
            optimizer.step()
            learner.after_step(progress)
            trace.number("loss", loss.detach())
            trace.number("rate", rate)
            trace.number("decay", max(g["weight_decay"] for g in optimizer.param_groups))
            keep(learner, known, trace)
    return trace


def groups(case: str) -> dict[str, list[str]]:
    """Names of the trained tensors in the original, by whether they decay."""
    with float64() as patch:
        learner = build(case, patch)
    named = names(case).leader(learner.named_parameters())
    known = {id(parameter): name for name, parameter in named.items()}
    found: dict[str, list[str]] = {"decay": [], "none": []}
    for group in learner.optimizer(None).param_groups:
        kind = "decay" if group["weight_decay"] > 0 else "none"
        found[kind] += [known[id(p)] for p in group["params"]]
    return {kind: sorted(names) for kind, names in found.items()}


def keep(learner: Learner, known: Names, trace: Trace) -> None:
    """Keep the state after a step."""
    trace.state("leader", known.leader(floats(learner)))
    follower = known.follower(floats(learner))
    if follower:
        trace.state("follower", follower)
    for name in ("queue", "centre"):
        if hasattr(learner, name):
            trace.state("memory", {name: getattr(learner, name)})
    if hasattr(learner, "pointer"):
        trace.number("pointer", learner.pointer)


def force_masks(learner: Learner, method: str, step: int, patch: pytest.MonkeyPatch) -> None:
    """Hide the patches that the rule hides, where the method hides any."""
    patches = (SIDE // 16) ** 2
    shape = (BATCH, patches)
    if method == "mae":
        order = rule.noise(step, shape).argsort(axis=1)
        patch.setattr(masks, "shuffles", lambda samples, count: order)
    if method == "data2vec":
        mask = rule.hidden(step, shape, cases.DATA2VEC["hidden"]).astype(np.float32)
        patch.setattr(learner, "mask", lambda samples: mask)
