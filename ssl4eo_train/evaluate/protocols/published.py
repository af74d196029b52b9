"""The papers' programs, setting by setting; what is odd in them is kept, and said.

Settings are data: ``ssl4eo_train/evaluate/published/{task}.yaml``, by the method that made the
backbone. They are those of SSL4EO-S12 (Wang et al., arXiv:2211.07044) and of SeCo (Mañas et al.,
arXiv:2103.16607), as their repositories have them.
"""

import dataclasses
from dataclasses import dataclass
from typing import Any

import fastload
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import published_settings, subsets
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify import fit
from ssl4eo_train.evaluate.classify.plan import Plan
from ssl4eo_train.evaluate.classify.pooling import is_transformer
from ssl4eo_train.evaluate.dense import published as dense
from ssl4eo_train.evaluate.outcome import Example, Outcome, Scored
from ssl4eo_train.evaluate.pages.examples import of_scores
from ssl4eo_train.evaluate.pretrained import Wanted
from ssl4eo_train.methods.common import expect

KINDS = ("class", "labels", "segment", "change")
DRAWS = True
"""A share of the training samples is drawn here, as published."""
GPUS = 4
MODES = ("linear", "finetune")
ALWAYS = ("crops, flips, orders and heads are drawn by this package's numbers, not by theirs",)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What may be set. All else is as published."""

    mode: str = "linear"
    """Or ``finetune``."""
    method: str = ""
    """Whose settings are taken; by default those of the method that made the backbone."""
    epochs: int = 0
    """Fewer than published, to try something out; milestones move with them. 0 for all."""
    batch: int = 0
    """Samples a step, in place of those of 4 GPUs; 0 for these."""
    image_size: int = 0
    """Side of what is shown, in place of the published one; 0 for that."""

    def __post_init__(self) -> None:
        expect(self.mode in MODES, "mode", self.mode, f"one of {', '.join(MODES)}")
        for name in ("epochs", "batch", "image_size"):
            expect(getattr(self, name) >= 0, name, getattr(self, name), "a count, or 0")


@dataclass(frozen=True)
class Published:
    """A run of the papers.

    Attributes:
        plan: its settings.
        wanted: what the backbone is shown, see `pretrained.Wanted`.
        draw: how a share of the training samples is drawn: ``replacement``, or ``split`` by
            scikit-learn.
        told: what is odd in it, in sentences.
    """

    plan: Plan
    wanted: Wanted
    draw: str
    told: list[str]


def find(task: str, method: str | None, mode: str, transformer: bool) -> Published:
    """The settings of a task, a method and a mode.

    Raises:
        SetupError: where the papers have no such run.
    """
    content = published_settings.of_task(task)
    modes = published_settings.of_method(content, task, method)
    if mode not in modes:
        raise SetupError(f"{task} was published with {method} as {', '.join(modes)} only")
    run = {**content["common"], **modes[mode]}
    fields: dict[str, Any] = {**content["common"]["plan"], **run["plan"]}
    fields |= {} if transformer else run.get("resnet", {})
    fields["batch"] = run["gpu_batch"] * GPUS
    fields.setdefault("judge_batch", run["gpu_batch"])
    for name in ("crop", "milestones", "fixed"):
        if name in fields:
            fields[name] = tuple(fields[name])
    plan = Plan(**fields)
    return Published(plan, run["wanted"], run["draw"], [*content["told"], *run["told"], *ALWAYS])


def run(bench: Bench, options: Options) -> Outcome:
    """See `protocols.Module.run`."""
    if bench.task.kind in ("segment", "change"):
        return maps(bench, options)
    method = options.method or bench.pretrained.method
    transformer = is_transformer(bench.pretrained.network)
    found = find(bench.name, method, options.mode, transformer)
    plan = changed(found.plan, options)
    inputs = dataclasses.replace(bench.inputs, wanted=found.wanted)
    train, drawn = drawn_from(bench, found.draw)
    bench = dataclasses.replace(bench, inputs=inputs, splits={**bench.splits, "train": train})
    fitted = fit.fit(bench, plan)
    scores, targets = fit.score(bench, fitted.classifier, plan, plan.report)
    first = f"as {method} was published on {bench.name}, {options.mode}"
    scored = Scored(scores, targets, plan.judge_batch)
    return Outcome(
        scored,
        examples=_examples(bench, plan, scored),
        chosen={"epoch": fitted.epoch, plan.judge: fitted.figure},
        settings={**dataclasses.asdict(plan), "mode": options.mode, "method": method},
        history=fitted.history,
        told=[first, *_zeros(bench), *found.told, *drawn, *differences(found.plan, plan)],
    )


def _zeros(bench: Bench) -> list[str]:
    """Which channels are shown zeros, in a sentence."""
    pairs = zip(bench.pretrained.channels, bench.inputs.places, strict=True)
    empty = [f"{channel.modality} {channel.band}" for channel, place in pairs if place is None]
    return [f"the network is shown zeros for {', '.join(empty)}"] if empty else []


def _examples(bench: Bench, plan: Plan, scored: Scored) -> list[Example]:
    """Of the split that is reported, less what was left out of it."""
    shown = bench.splits[plan.report].subset(range(len(scored.targets)))
    return of_scores(dataclasses.replace(bench, splits={**bench.splits, "test": shown}), scored)


def maps(bench: Bench, options: Options) -> Outcome:
    """Tasks of a class, or a change, a pixel; what is trained of them is as published."""
    if options.mode != "linear":
        raise SetupError(f"mode is {options.mode}, but what is trained for maps is as published")
    if bench.fraction != 1:
        raise SetupError(
            f"--fraction is {bench.fraction}, but maps were published with all samples"
        )
    o = options
    return dense.run(bench, o.method, o.epochs, o.batch, o.image_size)


def changed(plan: Plan, options: Options) -> Plan:
    """The plan with what the user asked for otherwise. Milestones and warm-up keep their place."""
    changes: dict[str, Any] = {}
    if options.epochs:
        share = options.epochs / plan.epochs
        changes["milestones"] = tuple(round(m * share) for m in plan.milestones)
        changes |= {"epochs": options.epochs, "warmup": plan.warmup * share}
        changes["first"] = min(plan.first, options.epochs - 1)
    if options.batch:
        changes["batch"] = options.batch
    if options.image_size:
        changes["size"] = options.image_size
        changes["resize"] = round(plan.resize * options.image_size / plan.size)
    return dataclasses.replace(plan, **changes)


def differences(published: Plan, plan: Plan) -> list[str]:
    """What a plan has otherwise than the published one, in sentences."""
    pairs = [
        (name, value, getattr(plan, name)) for name, value in dataclasses.asdict(published).items()
    ]
    return [f"{name} is {now}, published {was}" for name, was, now in pairs if was != now]


def drawn_from(bench: Bench, draw: str) -> tuple[fastload.Dataset, list[str]]:
    """The training samples as the programs draw a share of them, and how, in a sentence."""
    whole, share = bench.splits["train"], bench.fraction
    if share == 1:
        return whole, []
    if not 0 < share <= 1:
        raise SetupError(f"--fraction is {share}, expected a share in (0, 1]")
    if draw == "split":
        return whole.subset(subsets.kept(len(whole), share)), [
            f"{share:g} of the training samples, by scikit-learn with seed 42, not by class"
        ]
    rows = subsets.drawn(len(whole), share)
    told = (
        f"{len(rows)} draws with replacement out of {len(whole)} training samples, seed 42: "
        f"{len(set(rows.tolist()))} different ones; what is drawn twice has the same crop twice in "
        "an epoch here, and another each time there"
    )
    return whole.subset(rows), [told]
