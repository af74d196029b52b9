"""No backbone at all: a linear probe on statistics of each band, to compare with.

Of each channel that the backbone would be shown, over the pixels of the whole image as it lies on
disk: mean, standard deviation, least, median and greatest value. What a backbone finds should tell
more than these. On EuroSAT RGB, 15 numbers an image.
"""

import torch
from torch import Tensor

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.outcome import Outcome
from ssl4eo_train.evaluate.protocols import linear
from ssl4eo_train.evaluate.task import Split

KINDS = ("class", "labels")
Options = linear.Options


def run(bench: Bench, options: linear.Options) -> Outcome:
    """See `protocols.Module.run`. Options of the backbone make no difference."""
    size = options.image_size or bench.task.size

    def seen(split: Split) -> tuple[Tensor, Tensor]:
        found = [(statistics(x), y) for (x,), y, _ in bench.shown(split, size, options.batch)]
        rows, targets = zip(*found, strict=True)
        return torch.cat(rows), torch.cat(targets)

    about = {"pool": "mean, std, min, median, max", "image_size": size}
    return linear.probed(bench, options, seen, about)


def statistics(images: Tensor) -> Tensor:
    """Those of images ``[N, C, h, w]``: float32 ``[N, 5 C]``, one kind after the other."""
    x = images.flatten(2).float()
    found = (x.mean(2), x.std(2, correction=0), x.amin(2), x.median(2).values, x.amax(2))
    return torch.cat(found, dim=1)
