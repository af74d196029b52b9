"""The papers' network for change, on a backbone that is frozen or trained: differences of two
dates' maps and a UNet's decoder, see `dense.difference`.

Settings are the papers' for OSCD, but that a frozen backbone is in evaluation mode and that the
validation split chooses the epoch; ``--protocol published`` has theirs wholly.
"""

from dataclasses import dataclass

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.dense import run as dense
from ssl4eo_train.evaluate.dense.plan import Decoder, Optimiser, Plan, Schedule
from ssl4eo_train.evaluate.outcome import Outcome

KINDS = ("change",)


@dataclass(frozen=True, kw_only=True)
class Options(Plan):
    """What may be set; see `Plan`."""

    decoder: Decoder = "difference"
    dropout: float = 0.3
    epochs: int = 100
    batch: int = 32
    optimiser: Optimiser = "adam"
    weight_decay: float = 1e-4
    schedule: Schedule = "exponential"
    turns: bool = True
    judge_batch: int = 32


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`."""
    return dense.run(bench, options)
