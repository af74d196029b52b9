"""k-NN on frozen features, nothing being trained, see `ssl4eo_train.knn.votes`."""

from dataclasses import asdict, dataclass

from ssl4eo_train import knn
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.features import features
from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.methods.common import expect

KINDS = ("class",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set; the defaults are DINO's, but that its code tries several numbers on test."""

    neighbours: int = 20
    """That vote."""
    temperature: float = 0.07
    """Divides the cosines."""
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
    bank, labels = features(bench, "train", size, options.batch)
    queries, targets = features(bench, "test", size, options.batch)
    scores = knn.votes(
        bank,
        labels,
        queries,
        len(bench.task.classes),
        options.neighbours,
        options.temperature,
    )
    return Outcome(Scored(scores.cpu(), targets.cpu(), options.batch), settings=asdict(options))
