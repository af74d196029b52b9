"""The whole network trained on the training split; the epoch is chosen on the validation split."""

from dataclasses import asdict, dataclass

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify import fit
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.classify.pooling import is_transformer, resolved
from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.methods.common import expect

KINDS = ("class", "labels")
LAYER_DECAY = 0.75
"""Of MAE's main_finetune.py."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set. The defaults are near those of MAE's main_finetune.py, which is for
    ImageNet, but for fewer samples a step, and without its mixing of images."""

    epochs: int = 50
    batch: int = 64
    """Samples a step."""
    optimiser: str = "adamw"
    """``adamw``, ``adam``, ``sgd`` (momentum 0.9) or ``nesterov``."""
    rate: float = 5e-4
    schedule: str = "cosine_steps"
    """Or ``cosine``, ``cosine_beit``, ``milestones``, ``constant``, see `schedules.rate`."""
    milestones: tuple[int, ...] = (30, 40)
    warmup: float = 5.0
    """Epochs; of ``cosine_steps`` and ``cosine_beit``."""
    weight_decay: float = 0.05
    layer_decay: float = 0.0
    """Factor of the rate from a layer to the one before; 0 for 0.75 of a transformer, and 1 of
    others."""
    drop_path: float = 0.1
    """Of a transformer's last block; other networks skip none."""
    head: str = "linear"
    """See `heads.HEADS`."""
    pool: str = "auto"
    """Pooling, see `pooling.Pool`."""
    crop: tuple[float, ...] = (0.2, 1.0)
    """Least and greatest share of an image's area that is shown in training; both 1 for all."""
    flip: float = 0.5
    """Probability of a horizontal flip."""
    image_size: int = 0
    """Side of the images that are shown; 0 for what the backbone was trained at."""
    resize: int = 0
    """Side that images are resampled to, whose middle is shown in evaluation; 0 for all."""
    keep: str = "best"
    """Epoch that counts: the ``best`` on the validation split, or the ``last``."""
    judge_batch: int = 64
    """Images of a forward pass in evaluation."""

    def __post_init__(self) -> None:
        expect(self.layer_decay >= 0, "layer_decay", self.layer_decay, "0 or a factor in (0, 1]")


def plan(bench: Bench, options: Options) -> Plan:
    """The options as a plan for a backbone."""
    given = asdict(options)
    blocks = is_transformer(bench.pretrained.network)
    given["size"] = given.pop("image_size") or bench.pretrained.image_size
    given["layer_decay"] = options.layer_decay or (LAYER_DECAY if blocks else 1.0)
    given["drop_path"] = options.drop_path if blocks else 0.0
    given["pool"] = resolved(options.pool, bench.pretrained)
    if tuple(options.crop) == (1.0, 1.0):
        given["crop"] = ()
    return Plan(**given)


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`."""
    how = plan(bench, options)
    fitted = fit.fit(bench, how)
    scores, targets = fit.score(bench, fitted.classifier, how, how.report)
    return Outcome(
        Scored(scores, targets, how.judge_batch),
        chosen={"epoch": fitted.epoch, how.judge: fitted.figure},
        settings=asdict(how),
        history=fitted.history,
    )
