"""What a network says of whole test images, as confusion matrices."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from fastload_kernels import View
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense.network import DenseNetwork
from ssl4eo_train.evaluate.dense.plan import SLIDES, Plan
from ssl4eo_train.evaluate.numbers import confusion
from ssl4eo_train.evaluate.task import Kind, Split
from ssl4eo_train.knn import frozen


def confusions(said: Tensor, truth: Tensor, classes: int, ignored: int | None) -> Tensor:
    """How many pixels of a class (rows) were said to be of another (columns), of each image.

    Args:
        said: int64 ``[N, H, W]``, class numbers.
        truth: the same; pixels that are `ignored` count nowhere.
        classes: K.
        ignored: a class number, or None.

    Returns:
        int64 ``[N, K, K]``.

    Raises:
        ValueError: where the truth has a number that is no class.
    """
    N, K = len(truth), classes
    known = torch.ones_like(truth, dtype=torch.bool) if ignored is None else truth != ignored
    odd = known & ((truth < 0) | (truth >= K))
    if odd.any():
        raise ValueError(f"a mask has the class {int(truth[odd][0])}, expected 0 to {K - 1}")
    image = torch.arange(N, device=truth.device)[:, None, None].expand_as(truth)
    cells = (image * K + truth) * K + said
    return torch.bincount(cells[known], minlength=N * K * K).reshape(N, K, K)


def view(bench: Bench) -> View:
    """All of an image, its pixels as they are; of change both dates."""
    m = next(iter(bench.splits["test"].modalities.values()))
    timestamp = "all" if bench.task.kind == "change" else 0
    return View(size=(m.height, m.width), center=True, timestamp=timestamp)  # type: ignore[arg-type]


def scored(network: DenseNetwork, images: Tensor, plan: Plan) -> Tensor:
    """Scores of whole images, by one look, or by windows where they are larger than a crop.

    Where windows overlap their scores are averaged, as mmsegmentation's slide mode has it.

    Args:
        network: in evaluation mode.
        images: ``[N, C, H, W]``, of change ``[N, 2, C, H, W]``.
        plan: says how.
    """
    H, W = images.shape[-2:]
    crop = plan.crop
    if not plan.slide or not crop or (crop >= H and crop >= W):
        found: Tensor = network(images)[0]
        return found
    h, w = min(crop, H), min(crop, W)
    total: Tensor | None = None
    count = images.new_zeros(1, 1, H, W)
    for top in starts(H, h, stride(plan)):
        for left in starts(W, w, stride(plan)):
            box = (..., slice(top, top + h), slice(left, left + w))
            found = network(images[box])[0]
            total = found.new_zeros(*found.shape[:2], H, W) if total is None else total
            total[box] += found
            count[box] += 1
    assert total is not None
    return total / count


def stride(plan: Plan) -> int:
    """Pixels from a window to the next."""
    return max(1, plan.crop * 2 // 3) if plan.slide == SLIDES else plan.slide


def starts(length: int, window: int, step: int) -> list[int]:
    """Where windows begin that cover an axis; the last one ends where the axis does."""
    return sorted({*range(0, length - window, step), length - window})


def said_of(
    bench: Bench, network: DenseNetwork, split: Split, plan: Plan, order: int | None = None
) -> Iterator[tuple[Tensor, Tensor, list[int]]]:
    """What a network says of a split's images, batch by batch.

    Args:
        bench, network, split, plan: see there.
        order: an epoch whose drawn order is taken; None for that on disk.

    Yields:
        Class numbers that are said and that are true ``[N, H, W]``, int64, and the images' `index`.
    """
    with frozen(network):
        batches = bench.batches(split, view(bench), plan.judge_batch, epoch=order)
        for (images,), truth, batch in batches:
            yield network.said(scored(network, images, plan)), truth, batch["index"].tolist()


def judged(
    bench: Bench, network: DenseNetwork, split: Split, plan: Plan, order: int | None = None
) -> tuple[Tensor, list[int]]:
    """Confusion matrices of a split's images ``[N, K, K]``, in the order they came in, and their
    `index`; see `said_of`."""
    matrices, samples = [], []
    for said, truth, index in said_of(bench, network, split, plan, order):
        K, ignored = len(bench.task.classes), bench.task.ignored
        matrices.append(confusions(said, truth, K, ignored).cpu())
        samples += index
    return torch.cat(matrices), samples


def figure(kind: Kind, matrices: Tensor) -> float:
    """What a protocol chooses by: of segmentation the mean intersection over union, of change the
    F1 of what changed, over all images ``[N, K, K]``; 0 where it is undefined."""
    figures = confusion.CHANGE if kind == "change" else confusion.SEGMENT
    found = figures[NAMES[kind]](matrices.sum(dim=0).double().numpy())
    return float(np.nan_to_num(found))


NAMES: dict[Kind, str] = {"segment": "miou", "change": "f1"}
