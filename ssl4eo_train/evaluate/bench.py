"""What a protocol works with: a task's splits, seen as a backbone wants to see them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

import fastload
from fastload.recipe import Radiometry, Recipe
from fastload_kernels import View
from ssl4eo_train.evaluate.inputs import Inputs
from ssl4eo_train.evaluate.pretrained import Pretrained
from ssl4eo_train.evaluate.task import MASK, Split, Task


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A backbone before a task.

    `splits` hold what a protocol may look at: the training samples perhaps being a frozen share of
    all, see `subsets`. A protocol chooses by "val" alone and looks at "test" once, at the end.
    """

    task: Task
    pretrained: Pretrained
    inputs: Inputs
    splits: Mapping[Split, fastload.Dataset]
    device: torch.device
    workers: int
    seed: int
    out: Path
    engine: Literal["threads", "dali"] = "threads"
    cache: Path | None = None
    """Folder where features are kept; None for nowhere."""
    origin: str = ""
    """Names the data, for what is kept of them."""
    name: str = ""
    """Of the task in its table."""
    fraction: float = 1.0
    """Share of the training samples that is asked for; `splits` has it, unless the protocol draws
    it."""

    def batches(
        self,
        split: Split,
        views: View | Sequence[View],
        batch_size: int,
        *,
        epoch: int | None = None,
        drop_last: bool = False,
    ) -> Iterator[tuple[list[Tensor], Tensor, dict[str, Any]]]:
        """The samples of a split.

        Args:
            split: which.
            views: one or several of each sample; a mask has the geometry of its own view.
            batch_size: samples at a time.
            epoch: None for the order on disk; else shuffled and drawn by (seed, epoch).
            drop_last: leave out what is less than a batch.

        Yields:
            Of each view ``[N, C, h, w]``, of change ``[N, 2, C, h, w]``, float32; the targets:
            int64 ``[N]`` or float32 ``[N, K]`` of labels, or of the first view int64
            ``[N, h, w]``; and
            the batch. Tensors are on the device.
        """
        shown = (views,) if isinstance(views, View) else tuple(views)
        loader = fastload.DataLoader(
            self.splits[split].with_recipe(self.recipe(shown)),
            batch_size=batch_size,
            shuffle=epoch is not None,
            drop_last=drop_last,
            num_workers=self.workers,
            seed=self.seed,
            engine=self.engine,
            device=self.device,
            rank=0,
            world_size=1,
        )
        loader.set_epoch(epoch or 0)
        for batch in loader:
            images = [self.inputs.channels(batch, v) for v in range(len(shown))]
            yield images, self.targets(batch), batch

    def recipe(self, views: tuple[View, ...]) -> Recipe:
        """Views in the radiometry of the backbone."""
        units = self.splits["train"].statistics
        radiometry = {name: self.inputs.radiometry(name, units) for name in self.inputs.bands}
        return Recipe(views, {**radiometry, MASK: Radiometry.identity()})

    def targets(self, batch: Mapping[str, Any]) -> Tensor:
        """See `batches`."""
        if self.task.kind in ("segment", "change"):
            mask: Tensor = batch[MASK][0]
            return mask.flatten(1, -3).squeeze(1).long()
        label: Tensor = batch[self.task.label].to(self.device)
        return label.long() if self.task.kind == "class" else label.float()

    def shown(
        self,
        split: Split,
        size: int,
        batch_size: int,
        resize: int = 0,
        steps: Literal["fused", "uint8", "uint8_wrap"] = "fused",
    ) -> Iterator[tuple[list[Tensor], Tensor, dict[str, Any]]]:
        """The samples of a split of one date, in order, as `batches`: whole images of `size`, or
        the middle of whole images of `resize`.

        That is Resize(256) and CenterCrop(224) to the pixel, for square images. `steps`: see
        `View.steps`.
        """
        at = ((resize or size) - size) // 2
        view = replace(self.whole(resize or size), steps=steps)
        for images, targets, batch in self.batches(split, view, batch_size):
            yield [x[..., at : at + size, at : at + size] for x in images], targets, batch

    def whole(self, size: int) -> View:
        """A view of the whole image, of all dates where the task has two."""
        timestamp = "all" if self.task.kind == "change" else 0
        return View(size=size, scale=(1.0, 1.0), center=True, timestamp=timestamp)  # type: ignore[arg-type]
