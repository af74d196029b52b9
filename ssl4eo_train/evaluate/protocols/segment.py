"""A decoder for maps of classes on a backbone, which is frozen or trained: UPerNet or DeepLabV3+ of
segmentation-models-pytorch, on which the validation split chooses the epoch."""

from dataclasses import dataclass

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import run as dense
from ssl4eo_train.evaluate.dense.plan import Plan
from ssl4eo_train.evaluate.outcome import Outcome

KINDS = ("segment",)


@dataclass(frozen=True, kw_only=True)
class Options(Plan):
    """What may be set; see `Plan`."""


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`."""
    return dense.run(bench, options)
