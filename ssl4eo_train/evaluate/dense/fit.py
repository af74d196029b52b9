"""Supervised training of a network for maps. The loop reads from top to bottom."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from fastload_kernels import View
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify.fit import fresh, repeatable, tell
from ssl4eo_train.evaluate.dense import maps
from ssl4eo_train.evaluate.dense.difference import Difference
from ssl4eo_train.evaluate.dense.network import DenseNetwork, Segmenter
from ssl4eo_train.evaluate.dense.plan import Plan

POWER = 0.9
"""Of the schedule ``poly`` (DeepLab, arXiv:1606.00915; mmsegmentation)."""


@dataclass(frozen=True)
class Fitted:
    """A network as it was after the epoch that counts.

    Attributes:
        network: on the device.
        epoch: the number of that epoch, from 1.
        figure: on the validation split, then; None where nobody looked.
        history: of each epoch, figures by name.
    """

    network: DenseNetwork
    epoch: int
    figure: float | None
    history: list[dict[str, float]]


def fit(bench: Bench, plan: Plan) -> Fitted:
    """Train a network on the training split; the same on each run with the bench's seed.

    Writes a line an epoch to ``history.jsonl`` in `Bench.out`, and prints one.

    Raises:
        SetupError: where backbone, task and plan do not fit.
        ValueError: where the loss is no number any more.
    """
    with repeatable(bench):
        return _fit(bench, plan)


def _fit(bench: Bench, plan: Plan) -> Fitted:
    network = made(bench, plan).to(bench.device)
    optimizer = optimiser(network, plan)
    samples = len(bench.splits["train"])
    batch = min(plan.batch, samples)
    each = samples // batch
    total = plan.steps or plan.epochs * each
    epochs = math.ceil(total / each)
    history: list[dict[str, float]] = []
    best, best_epoch, state = -1.0, 0, None
    log, start, step = fresh(bench.out), perf_counter(), 0
    for epoch in range(epochs):
        network.learn()
        losses, first = torch.zeros((), device=bench.device), step
        for images, truth in batches(bench, plan, batch, epoch):
            if step == total:
                break
            now = rate(plan, step, each, total)
            for group in optimizer.param_groups:
                group["lr"] = now * group["share"]
            loss = loss_of(bench, plan, network(images), truth)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses += loss.detach()
            step += 1
        row = {"epoch": epoch + 1, "loss": losses.item() / (step - first), "rate": now}  # A sync.
        if not math.isfinite(row["loss"]):
            raise ValueError(f"epoch {epoch + 1}: the loss is {row['loss']}; a lower rate may help")
        if plan.judge and ((epoch + 1) % plan.every == 0 or epoch + 1 == epochs):
            found = maps.figure(bench.task.kind, maps.judged(bench, network, "val", plan)[0])
            row[f"val_{maps.NAMES[bench.task.kind]}"] = found
            if found > best:
                best, best_epoch = found, epoch + 1
                state = copy.deepcopy(network.state_dict())
        history.append(row)
        tell(log, row, epochs, perf_counter() - start)
    if state is None:
        return Fitted(network, epochs, None, history)
    network.load_state_dict(state)
    return Fitted(network, best_epoch, best, history)


def made(bench: Bench, plan: Plan) -> DenseNetwork:
    """The network of a plan, its decoder being initialised from torch's generator.

    Raises:
        SetupError: where backbone, task and plan do not fit.
    """
    if bench.task.kind == "change":
        return Difference(bench.pretrained, plan)
    return Segmenter(bench.pretrained, plan, len(bench.task.classes))


def batches(bench: Bench, plan: Plan, batch: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Training images and their maps, see `Bench.batches`, of an epoch."""
    shown = view(bench, plan)
    for (images,), truth, _ in bench.batches("train", shown, batch, epoch=epoch, drop_last=True):
        yield images, truth


def view(bench: Bench, plan: Plan) -> View:
    """What is shown of a training image: a crop, perhaps enlarged, flipped and turned.

    A crop that is enlarged by z has a side of crop / z in the image. Its area is drawn evenly, and
    it never leaves the image; mmsegmentation draws z evenly, and pads images that it made smaller
    than a crop with pixels that are ignored.

    Raises:
        SetupError: where the crop does not fit the task's images.
    """
    m = next(iter(bench.splits["train"].modalities.values()))
    size = (plan.crop, plan.crop) if plan.crop else (m.height, m.width)
    timestamp: Any = "all" if bench.task.kind == "change" else 0
    if plan.turns and size[0] != size[1]:
        raise SetupError(f"turns: images are {size[0]} x {size[1]}; crop=N shows squares")
    flips: Any = {"d4": 1.0} if plan.turns else {"hflip": plan.flip}
    if not plan.zoom:
        if size[0] > m.height or size[1] > m.width:
            raise SetupError(f"crop is {plan.crop}, but images are {m.height} x {m.width}")
        return View(size=size, timestamp=timestamp, **flips)
    low, high = plan.zoom
    share = size[0] * size[1] / (m.height * m.width)
    least, most = (min(1.0, share / zoom**2) for zoom in (high, low))
    aspect = size[1] / size[0]
    return View(
        size=size, timestamp=timestamp, scale=(least, most), ratio=(aspect, aspect), **flips
    )


def optimiser(network: DenseNetwork, plan: Plan) -> Optimizer:
    """The optimiser of what is trained; of the backbone at its share of the rate. Weight decay is
    for all parameters, as in mmsegmentation and in SeCo."""
    inside = {id(parameter) for parameter in network.backbone.parameters()}
    trained = [p for p in network.parameters() if p.requires_grad]
    shares = {True: plan.backbone_rate, False: 1.0}
    groups = [
        {"params": some, "share": share}
        for backbone, share in shares.items()
        if (some := [p for p in trained if (id(p) in inside) == backbone])
    ]
    if plan.optimiser == "sgd":
        return SGD(groups, plan.rate, momentum=0.9, weight_decay=plan.weight_decay)
    kind = Adam if plan.optimiser == "adam" else AdamW
    return kind(groups, plan.rate, weight_decay=plan.weight_decay)


def rate(plan: Plan, step: int, steps_per_epoch: int, total: int) -> float:
    """The learning rate of a step, from 0; see `Plan.schedule`."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / (plan.warmup + 1)
    if plan.schedule == "exponential":
        return float(plan.rate * plan.decay ** (step // steps_per_epoch))
    if plan.schedule == "constant":
        return plan.rate
    left = (1 + math.cos(math.pi * step / total)) / 2
    if plan.schedule == "poly":
        left = (1 - step / total) ** POWER
    return float((plan.rate - plan.least) * left + plan.least)


def loss_of(bench: Bench, plan: Plan, scores: list[Tensor], truth: Tensor) -> Tensor:
    """Cross-entropy over the pixels that are known, of change binary; an auxiliary head's beside
    it, by its weight.

    Args:
        bench: its task says which pixels are ignored.
        plan: see there.
        scores: ``[N, K, H, W]``, of change ``[N, 1, H, W]``; of both heads.
        truth: int64 ``[N, H, W]``.
    """
    ignored = bench.task.ignored
    known = torch.ones_like(truth, dtype=torch.bool) if ignored is None else truth != ignored
    count = truth.numel() if plan.mean_of_all else known.sum().clamp(min=1)
    losses = [_sum(bench, s, truth, known) / count for s in scores]
    return losses[0] + plan.auxiliary * sum(losses[1:], torch.zeros((), device=truth.device))


def _sum(bench: Bench, scores: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    if bench.task.kind == "change":
        wanted = truth.clamp(0, 1).float()
        each = F.binary_cross_entropy_with_logits(scores[:, 0].float(), wanted, reduction="none")
        return (each * known).sum()
    masked = truth.masked_fill(~known, -1)
    return F.cross_entropy(scores.float(), masked, ignore_index=-1, reduction="sum")
