"""A linear probe on features of the frozen backbone, which are computed once.

The features are of whole images, without augmentation; ``published`` has the papers' programs,
which crop and flip. What is searched is chosen on the validation split, and the test split is
looked at once, by what was chosen.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam

from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify import heads, probes
from ssl4eo_train.evaluate.classify.features import features
from ssl4eo_train.evaluate.classify.fit import loss_of, repeatable
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.classify.pooling import resolved
from ssl4eo_train.evaluate.classify.schedules import rate
from ssl4eo_train.evaluate.numbers.figures import NAMES, figure
from ssl4eo_train.evaluate.outcome import Outcome, Scored
from ssl4eo_train.evaluate.task import Split
from ssl4eo_train.methods.common import expect

KINDS = ("class", "labels")
SOLVERS = ("lbfgs", "sgd", "adam")
Probe = Callable[[Tensor], Tensor]
"""From features to scores."""
Seen = Callable[[Split], tuple[Tensor, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set."""

    solver: str = "lbfgs"
    """``lbfgs``: logistic regression, see `probes.logistic`; ``sgd`` (momentum 0.9) or ``adam``: a
    head that is stepped, its rate following a cosine to 0."""
    l2: tuple[float, ...] = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
    """Penalties that ``lbfgs`` tries."""
    standardise: bool = True
    """Show ``lbfgs`` features less their mean, over their standard deviation, in training."""
    rates: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
    """Learning rates that ``sgd`` and ``adam`` try. SeCo has Adam with 0.001 on EuroSAT."""
    head: str = "linear"
    """Of ``sgd`` and ``adam``, see `heads.HEADS`; MAE has ``bn_linear``."""
    epochs: int = 100
    """Of ``sgd`` and ``adam``."""
    step_batch: int = 256
    """Their samples a step."""
    pool: str = "auto"
    """Pooling, see `pooling.Pool`."""
    image_size: int = 0
    """Side of the images that are shown; 0 for what the backbone was trained at."""
    resize: int = 0
    """Side that images are resampled to, whose middle is shown; 0 for all of them."""
    batch: int = 64
    """Images a forward pass."""

    def __post_init__(self) -> None:
        expect(self.solver in SOLVERS, "solver", self.solver, f"one of {', '.join(SOLVERS)}")
        expect(self.head in heads.HEADS, "head", self.head, f"one of {', '.join(heads.HEADS)}")
        for name in ("l2", "rates"):
            values = getattr(self, name)
            expect(len(values) > 0 and min(values) > 0, name, values, "numbers above 0")
        for name in ("epochs", "step_batch", "batch"):
            expect(getattr(self, name) > 0, name, getattr(self, name), "a count")
        fits = self.resize == 0 or self.resize >= self.image_size > 0
        expect(fits, "resize", self.resize, "0, or a side from image_size, which must be set too")


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`."""
    size = options.image_size or bench.pretrained.image_size
    pool = resolved(options.pool, bench.pretrained)

    def seen(split: Split) -> tuple[Tensor, Tensor]:
        return features(bench, split, size, options.batch, pool=pool, resize=options.resize)

    return probed(bench, options, seen, {"pool": pool, "image_size": size})


def probed(bench: Bench, options: Options, seen: Seen, settings: dict[str, Any]) -> Outcome:
    """Train what the options say on one split's features, choose by another's, and see a third's.

    Args:
        bench, options: of the protocol.
        seen: gives the features and targets of a split.
        settings: what is told of them.
    """
    kind, name = bench.task.kind, f"val_{NAMES[bench.task.kind]}"
    (train, targets), (held, truth) = seen("train"), seen("val")
    lbfgs = options.solver == "lbfgs"
    shown = probes.Standard.of(train) if lbfgs and options.standardise else lambda x: x
    history: list[dict[str, float]] = []
    best: Probe | None = None
    chosen: dict[str, float] = {}
    with repeatable(bench):
        train, held = shown(train), shown(held)
        for setting, value, probe in (_regressions if lbfgs else _heads)(
            bench, options, train, targets
        ):
            row = {setting: value, name: figure(kind, probe(held).cpu(), truth.cpu())}
            print(f"{setting} {value:g}: {name} {100 * row[name]:.2f} %", flush=True)
            if best is None or row[name] > chosen[name]:
                best, chosen = probe, row
            history.append(row)
        assert best is not None
        test, truth = seen("test")
        scored = Scored(best(shown(test)).cpu(), truth.cpu(), options.batch)
    return Outcome(
        scored,
        chosen=chosen,
        settings={**asdict(options), **settings},
        history=history,
        told=_told(setting, history),
    )


def _regressions(bench: Bench, options: Options, x: Tensor, y: Tensor) -> Any:
    """From the strongest penalty to the weakest, each starting where the last one ended."""
    found = None
    for l2 in sorted(options.l2, reverse=True):
        K = len(bench.task.classes)
        found = probes.logistic(x, y, K, bench.task.kind, l2, found)
        yield "l2", l2, found.scores


def _heads(bench: Bench, options: Options, x: Tensor, y: Tensor) -> Any:
    """One head a rate, all with the same weights to begin with."""
    for value in sorted(options.rates):
        torch.manual_seed(bench.seed)
        head = heads.make(options.head, "normal", x.shape[1], len(bench.task.classes))
        yield "rate", value, _stepped(bench, options, head.to(x.device), value, x, y)


def _stepped(
    bench: Bench, options: Options, head: nn.Module, value: float, x: Tensor, y: Tensor
) -> Probe:
    plan = Plan(epochs=options.epochs, rate=value, schedule="cosine")
    optimizer = (
        Adam(head.parameters(), value)
        if options.solver == "adam"
        else SGD(head.parameters(), value, momentum=0.9)
    )
    head.train()
    for epoch in range(options.epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate(plan, epoch, 1)
        for rows in probes.orders(len(x), options.step_batch, bench.seed, epoch):
            some = rows.to(x.device)
            loss = loss_of(bench, head(x[some]), y[some])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    head.eval()

    @torch.no_grad()
    def scores(features: Tensor) -> Tensor:
        return torch.cat([head(part) for part in torch.split(features, probes.CHUNK)])

    return scores


def _told(name: str, history: list[dict[str, float]]) -> list[str]:
    """Whether the best was at the end of what was tried, and better than what is beside it."""
    found = [row[next(n for n in row if n != name)] for row in history]
    if len(found) == 1:
        return []
    ends = {0: found[1], len(found) - 1: found[-2]}
    best = found.index(max(found))
    if best in ends and found[best] > ends[best]:
        return [f"the best {name} is the last one tried, {history[best][name]:g}"]
    return []
