"""Supervised training of a classifier. The loop reads from top to bottom."""

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from fastload_kernels import View
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify import layers, schedules
from ssl4eo_train.evaluate.classify.classifier import Classifier
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.numbers.figures import NAMES, figure
from ssl4eo_train.evaluate.task import Split
from ssl4eo_train.knn import frozen

HISTORY = "history.jsonl"
"""A line an epoch, while it runs."""


@dataclass(frozen=True)
class Fitted:
    """A classifier as it was after the epoch that counts.

    Attributes:
        classifier: on the device.
        epoch: the number of that epoch, from 1.
        figure: on the split that was looked at, then; see `figures`.
        history: of each epoch, figures by name.
    """

    classifier: Classifier
    epoch: int
    figure: float
    history: list[dict[str, float]]


def fit(bench: Bench, plan: Plan) -> Fitted:
    """Train a classifier on the training split; the same on each run with the bench's seed.

    Writes a line an epoch to ``history.jsonl`` in `Bench.out`, and prints one.

    Raises:
        SetupError: where backbone and plan do not fit.
        ValueError: where the loss is no number any more.
    """
    with repeatable(bench):
        return _fit(bench, plan)


def _fit(bench: Bench, plan: Plan) -> Fitted:
    classifier = Classifier(bench.pretrained, plan, len(bench.task.classes))
    layers.drop_paths(classifier.pooled.network, plan.drop_path)
    classifier.to(bench.device)
    optimizer = optimiser(classifier, plan)
    samples = len(bench.splits["train"])
    batch = min(plan.batch, samples)
    steps = samples // batch
    history: list[dict[str, float]] = []
    best, best_epoch, state = -1.0, 0, None
    log, start = fresh(bench.out), perf_counter()
    for epoch in range(plan.epochs):
        classifier.learn()
        total = torch.zeros((), device=bench.device)
        batches = bench.batches("train", view(plan), batch, epoch=epoch, drop_last=True)
        for i, ((images,), targets, _) in enumerate(batches):
            now = schedules.rate(plan, epoch * steps + i, steps)
            for group in optimizer.param_groups:
                group["lr"] = now * group["share"]
            loss = loss_of(bench, classifier(images), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            total += loss.detach()
        row = {"epoch": epoch + 1, "loss": total.item() / steps, "rate": now}  # A CPU-GPU sync.
        if not math.isfinite(row["loss"]):
            raise ValueError(f"epoch {epoch + 1}: the loss is {row['loss']}; a lower rate may help")
        if looks(plan, epoch):
            found = figure(bench.task.kind, *score(bench, classifier, plan, plan.judge))
            row[f"{plan.judge}_{NAMES[bench.task.kind]}"] = found
            if plan.keep == "last" or found > best:
                best, best_epoch = found, epoch + 1
            if plan.keep == "best" and best_epoch == epoch + 1:
                state = copy.deepcopy(classifier.state_dict())
        history.append(row)
        tell(log, row, plan.epochs, perf_counter() - start)
    if state is not None:
        classifier.load_state_dict(state)
    return Fitted(classifier, best_epoch if state is not None else plan.epochs, best, history)


def looks(plan: Plan, epoch: int) -> bool:
    """Whether the split that judges is looked at after an epoch, from 0."""
    if plan.look_at_last and epoch == plan.epochs - 1:
        return True
    return epoch >= plan.first and (epoch - plan.first) % plan.every == 0


def view(plan: Plan) -> View:
    """What is shown of a training image."""
    low, high = plan.crop or (1.0, 1.0)
    return View(
        size=plan.size,
        scale=(low, high),
        center=not plan.crop,
        ratio_law=plan.ratio_law,
        timestamp=0,
        hflip=plan.flip,
        steps=plan.steps,
    )


def optimiser(classifier: Classifier, plan: Plan) -> Optimizer:
    """The optimiser of what is trained, by `layers.groups`."""
    groups: list[dict[str, Any]] = layers.groups(classifier, plan.weight_decay, plan.layer_decay)
    if plan.optimiser in ("sgd", "nesterov"):
        return SGD(groups, plan.rate, momentum=0.9, nesterov=plan.optimiser == "nesterov")
    return (Adam if plan.optimiser == "adam" else AdamW)(groups, plan.rate)


def loss_of(bench: Bench, scores: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy, or the mean of those of all labels, which is MultiLabelSoftMarginLoss."""
    if bench.task.kind == "class":
        return F.cross_entropy(scores, targets)
    return F.multilabel_soft_margin_loss(scores, targets)


def score(bench: Bench, classifier: Classifier, plan: Plan, split: Split) -> tuple[Tensor, Tensor]:
    """Scores ``[N, K]`` of the samples of a split, and their targets, both on the CPU."""
    rows: list[Tensor] = []
    targets: list[Tensor] = []
    size = plan.judge_batch
    with frozen(classifier):
        for (images,), target, _ in bench.shown(split, plan.size, size, plan.resize, plan.steps):
            if plan.drop_last and len(target) < size and rows:
                break
            rows.append(classifier(images).float().cpu())
            targets.append(target.cpu())
    return torch.cat(rows), torch.cat(targets)


@contextmanager
def repeatable(bench: Bench) -> Iterator[None]:
    """Within this context, torch draws from the bench's seed, and cuDNN takes the same kernels."""
    devices = [bench.device] if bench.device.type == "cuda" else []
    flags = torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False)
    with torch.random.fork_rng(devices), flags:
        torch.manual_seed(bench.seed)
        yield


def fresh(out: Path) -> Path:
    """An empty ``history.jsonl`` in a folder."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / HISTORY
    path.write_text("", encoding="utf-8")
    return path


def tell(log: Path, row: dict[str, float], epochs: int, seconds: float) -> None:
    """Write and print an epoch's row, and how long the others take, about."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps({**row, "seconds": round(seconds, 3)}) + "\n")
    done = int(row["epoch"])
    words = [f"{name} {value:.4g}" for name, value in row.items() if name != "epoch"]
    left = seconds / done * (epochs - done)
    about = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
    print(f"epoch {done} of {epochs}: {', '.join(words)}; {about} left", flush=True)
