"""k-NN on frozen features, nothing being trained, see `ssl4eo_train.knn.votes`.

Where an image has several labels, the score of each is the share of the votes that are for it.
"""

from dataclasses import asdict, dataclass

import torch

from ssl4eo_train import knn
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify.features import features
from ssl4eo_train.evaluate.classify.pooling import resolved
from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.methods.common import expect

KINDS = ("class", "labels")
QUERIES = 1024
"""Images that are asked for at once."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are DINO's, but that its code tries several numbers on test."""

    neighbours: int = 20
    """That vote."""
    temperature: float = 0.07
    """Divides the cosines."""
    pool: str = "auto"
    """Pooling, see `pooling.Pool`."""
    image_size: int = 0
    """Side of the images that are shown; 0 for what the backbone was trained at."""
    batch: int = 64
    """Images a forward pass."""

    def __post_init__(self) -> None:
        expect(self.neighbours > 0, "neighbours", self.neighbours, "a count")
        expect(self.temperature > 0, "temperature", self.temperature, "a number above 0")


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`. Training images vote, test images are asked for."""
    size = options.image_size or bench.pretrained.image_size
    pool = resolved(options.pool, bench.pretrained)
    bank, labels = features(bench, "train", size, options.batch, pool=pool)
    queries, targets = features(bench, "test", size, options.batch, pool=pool)
    classes, how = len(bench.task.classes), (options.neighbours, options.temperature)
    parts = [knn.votes(bank, labels, some, classes, *how) for some in torch.split(queries, QUERIES)]
    return Outcome(
        Scored(torch.cat(parts).cpu(), targets.cpu(), options.batch, logits=False),
        settings={**asdict(options), "pool": pool, "image_size": size},
    )
