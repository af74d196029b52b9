"""The figures beside scikit-learn's, torchmetrics' and what can be said on paper; the intervals."""

import itertools
import math
import warnings
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor
from torchmetrics.functional import classification as tm

from ssl4eo_train.evaluate.numbers import average_precision, bootstrap, confusion
from ssl4eo_train.evaluate.numbers.metrics import NUMBERS, Measured, measure
from ssl4eo_train.evaluate.outcome import Mapped, Outcome, Scored
from ssl4eo_train.evaluate.tasks import TASKS, task

NAN = np.nan
PARTS = {"zero_division": NAN, "average": None}


def measured(kind: str, test: Scored | Mapped, seed: int = 0) -> Measured:
    K = test.scores.shape[1] if isinstance(test, Scored) else test.confusion.shape[1]
    task: Any = SimpleNamespace(kind=kind, classes=tuple(str(k) for k in range(K)))
    return measure(task, Outcome(test), seed)


def values(found: dict[str, Any]) -> dict[str, float]:
    return {name: NAN if n["value"] is None else n["value"] for name, n in found.items()}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def single(N: int, K: int, seed: int, classes: int | None = None) -> Scored:
    """`classes` of K occur."""
    g = torch.Generator().manual_seed(seed)
    targets = torch.randint(0, classes or K, (N,), generator=g)
    hint = torch.nn.functional.one_hot(targets, K)
    return Scored(random(N, K, seed=seed) + hint, targets, batch=4)


def several(N: int, K: int, seed: int, ties: bool = False) -> Scored:
    g = torch.Generator().manual_seed(seed)
    targets = (torch.rand(N, K, generator=g) < 0.4).float()
    scores = 9 * random(N, K, seed=seed) + targets
    return Scored(scores.div(9).round() if ties else scores, targets, batch=4)


SINGLE = {
    "random": single(50, 5, 1),
    "a class does not occur": single(30, 5, 2, classes=3),
    "one sample": single(1, 3, 3),
    "all ties": replace(single(20, 4, 4), scores=torch.zeros(20, 4)),
    "nothing right": Scored(torch.eye(2)[[1, 1, 1]], torch.zeros(3, dtype=torch.int64), 2),
}


@pytest.mark.parametrize("name", SINGLE)
def test_one_label_an_image_as_scikit_learn(name: str) -> None:
    test = SINGLE[name]
    true, said = test.targets.numpy(), test.scores.argmax(dim=1).numpy()
    labels = list(range(test.scores.shape[1]))
    found = measured("class", test)
    recall = sk.recall_score(true, said, labels=labels, **PARTS)
    assert values(found.numbers) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(true, said),
            "accuracy_per_class": np.nanmean(recall),
            "f1_macro": sk.f1_score(true, said, labels=labels, average="macro", zero_division=NAN),
        },
        abs=1e-12,
    )
    theirs = {
        "recall": recall,
        "precision": sk.precision_score(true, said, labels=labels, **PARTS),
        "f1": sk.f1_score(true, said, labels=labels, **PARTS),
        "iou": sk.jaccard_score(true, said, labels=labels, average=None, zero_division=0),
    }
    for k, own in enumerate(map(values, found.per_class)):
        for figure, every in theirs.items():
            occurs = found.support[k] or (said == k).any() or figure != "iou"
            assert own[figure] == pytest.approx(every[k] if occurs else NAN, nan_ok=True, abs=1e-12)
    assert found.confusion == sk.confusion_matrix(true, said, labels=labels).tolist()
    assert found.support == np.bincount(true, minlength=len(labels)).tolist()


SEVERAL = {
    "random": several(60, 6, 1),
    "ties": several(60, 6, 2, ties=True),
    "rows without labels": replace(
        s := several(40, 5, 3), targets=s.targets * (torch.arange(40) % 2)[:, None]
    ),
    "a label does not occur": replace(s, targets=s.targets * torch.tensor([1, 1, 0, 1, 1])),
    "one sample": Scored(random(1, 4), torch.tensor([[1.0, 0.0, 1.0, 0.0]]), 1),
    "one label": several(30, 1, 4),
    "scores that the logistic function ties": replace(s, scores=50 + s.scores),
    "probabilities": replace(s, scores=s.scores.sigmoid(), logits=False),
}  # fmt: skip


@pytest.mark.parametrize("name", SEVERAL)
def test_several_labels_an_image_as_scikit_learn(name: str) -> None:
    test = SEVERAL[name]
    true, scores = test.targets.numpy(), test.scores.double().numpy()
    said = (scores > (0 if test.logits else 0.5)).astype(int)
    there = true.any(axis=0)
    found = measured("labels", test)
    ap = [sk.average_precision_score(true[:, k], scores[:, k]) for k in np.flatnonzero(there)]
    f1 = sk.f1_score(true.ravel(), said.ravel(), zero_division=NAN)
    every = [sk.f1_score(t, s, zero_division=NAN) for t, s in zip(true.T, said.T, strict=True)]
    expected = {
        "map_micro": sk.average_precision_score(true.ravel(), scores.ravel()),
        "map_macro": np.mean(ap),
        "f1_micro": f1,
        "f1_macro": np.nanmean(every),
    }
    assert values(found.numbers) == pytest.approx(expected, abs=1e-6)
    own = [values(of) for of in found.per_class]
    assert [of["ap"] for of in own if not math.isnan(of["ap"])] == pytest.approx(ap, abs=1e-6)
    assert [math.isnan(of["ap"]) for of in own] == (~there).tolist()
    assert [of["f1"] for of in own] == pytest.approx(every, nan_ok=True, abs=1e-12)
    assert found.support == true.sum(axis=0).tolist()


def pixels(N: int, K: int, seed: int, occur: int | None = None) -> tuple[Any, Any, Mapped]:
    """Truth and what is said; the same as confusion matrices. `occur` of K classes do."""
    rng = np.random.default_rng(seed)
    true, said = rng.integers(0, occur or K, (2, N, 40))
    said = np.where(rng.random(true.shape) < 0.5, true, said)
    each = [sk.confusion_matrix(t, s, labels=range(K)) for t, s in zip(true, said, strict=True)]
    return true.ravel(), said.ravel(), Mapped(torch.tensor(np.stack(each)), 3)


def test_a_class_a_pixel_as_scikit_learn_and_torchmetrics() -> None:
    true, said, test = pixels(7, 4, 0)
    found = measured("segment", test)
    assert values(found.numbers) == pytest.approx(
        {
            "miou": sk.jaccard_score(true, said, average="macro"),
            "accuracy": sk.accuracy_score(true, said),
            "accuracy_per_class": sk.balanced_accuracy_score(true, said),
            "mf1": sk.f1_score(true, said, average="macro"),
        },
        abs=1e-12,
    )
    t, s = torch.tensor(true), torch.tensor(said)
    theirs = tm.multiclass_jaccard_index(s, t, 4)
    assert found.numbers["miou"]["value"] == pytest.approx(theirs.item(), abs=1e-6)
    assert found.by_batch == {}


def test_a_class_that_is_nowhere_counts_nowhere() -> None:
    matrix = np.array([[3.0, 1, 0], [1, 5, 0], [0, 0, 0]])
    assert confusion.SEGMENT["miou"](matrix) == pytest.approx((3 / 5 + 5 / 7) / 2)
    assert confusion.SEGMENT["miou"](np.zeros((2, 2))) != 0  # NaN: undefined
    said_only = np.array([[3.0, 1], [0, 0]])
    assert confusion.SEGMENT["accuracy_per_class"](said_only) == 0.75
    assert confusion.SEGMENT["miou"](said_only) == pytest.approx((3 / 4 + 0) / 2)


@pytest.mark.parametrize("most", [2, 1])
def test_change_as_scikit_learn(most: int) -> None:
    """Also where nothing changed and nothing is said to have."""
    true, said, test = pixels(5, 2, 1, most)
    found = measured("change", test)
    options = {"zero_division": 0}
    assert values(found.numbers) == pytest.approx(
        {
            "f1": sk.f1_score(true, said, **options),
            "iou": sk.jaccard_score(true, said, **options),
            "precision": sk.precision_score(true, said, **options),
            "recall": sk.recall_score(true, said, **options),
            "accuracy": sk.accuracy_score(true, said),
        },
        abs=1e-12,
    )


# --- by batch


def test_the_papers_micro_average_precision() -> None:
    """SSL4EO-S12's linear_BE_moco.py, in a loop: the logistic function, scikit-learn's or
    torchmetrics' average precision of each batch, the mean; the last batch dropped or by its size.
    """
    test = several(30, 5, 7)
    test = replace(test, targets=test.targets * (torch.arange(30) >= 4)[:, None])  # batch 0: none
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i in range(0, 30, 4):
            score = torch.sigmoid(test.scores[i : i + 4])
            found.append(
                sk.average_precision_score(test.targets[i : i + 4], score, average="micro")
            )
    assert found[0] == 0
    own = measured("labels", test)
    assert own.by_batch == pytest.approx(
        {
            "map_micro_by_batch": np.mean(found[:7]),
            "map_micro_by_batch_all": np.average(found, weights=[4] * 7 + [2]),
        },
        abs=1e-6,
    )
    assert abs(own.by_batch["map_micro_by_batch"] - values(own.numbers)["map_micro"]) > 0.01


def test_the_papers_accuracy() -> None:
    test = single(10, 3, 5)
    right = (test.scores.argmax(dim=1) == test.targets).double()
    own = measured("class", test)
    assert own.by_batch["accuracy_by_batch"] == pytest.approx(right[:8].mean().item())
    assert own.by_batch["accuracy_by_batch_all"] == pytest.approx(values(own.numbers)["accuracy"])


def test_the_papers_precision_recall_and_f1() -> None:
    true, said, test = pixels(8, 2, 3)
    found = []
    for i in range(0, 8, 3):
        of = slice(40 * i, 40 * min(i + 3, 8))
        found.append(sk.precision_recall_fscore_support(true[of], said[of], average="binary")[:3])
    own = measured("change", test).by_batch
    names = ("precision", "recall", "f1")
    assert [own[f"{n}_by_batch"] for n in names] == pytest.approx(np.mean(found[:2], axis=0))
    whole = np.average(found, axis=0, weights=[3, 3, 2])
    assert [own[f"{n}_by_batch_all"] for n in names] == pytest.approx(whole)


def test_no_batch_is_full() -> None:
    assert list(measured("class", replace(single(3, 2, 0), batch=4)).by_batch) == [
        "accuracy_by_batch_all"
    ]


# --- intervals


def test_intervals_are_those_of_resampled_images() -> None:
    """All figures, in a loop: images are drawn again, and measured as a test split of their own."""
    seed, R = 3, 5
    one, some, (_, _, mapped) = single(25, 3, 0), several(25, 4, 1), pixels(25, 3, 2)
    tests: dict[str, Scored | Mapped] = {"class": one, "labels": some, "segment": mapped}
    counts = list(bootstrap.counts(25, seed, R))
    again: dict[str, list[dict[str, float]]] = {kind: [] for kind in tests}
    for count in counts:
        drawn = np.repeat(np.arange(25), count)
        again["class"].append(values(_numbers("class", one, drawn)))
        again["labels"].append(values(_numbers("labels", some, drawn)))
        again["segment"].append(values(_numbers("segment", mapped, drawn)))
    every = np.stack(counts)
    cells = (one.targets * 3 + one.scores.argmax(dim=1)).numpy()
    tallied = bootstrap.tallies(cells, 9, seed, R).reshape(R, 3, 3)
    summed = bootstrap.sums(mapped.confusion.reshape(25, 9).numpy(), seed, R).reshape(R, 3, 3)
    for kind, figures, matrices in (
        ("class", confusion.CLASS, tallied),
        ("segment", confusion.SEGMENT, summed),
    ):
        for name, figure in figures.items():
            expected = [of[name] for of in again[kind]]
            np.testing.assert_allclose(figure(matrices), expected, rtol=0, atol=1e-12)
    r = average_precision.ranked(some.scores.numpy(), some.targets.long().numpy())
    found = average_precision.weighted(r.image, r.positive, r.last, every)
    np.testing.assert_allclose(found, [of["map_micro"] for of in again["labels"]], atol=1e-6)


def _numbers(kind: str, test: Scored | Mapped, drawn: Any) -> Any:
    some: Scored | Mapped
    if isinstance(test, Mapped):
        some = replace(test, confusion=test.confusion[drawn])
    else:
        some = replace(test, scores=test.scores[drawn], targets=test.targets[drawn])
    return measured(kind, some).numbers


def test_all_resamples_of_three_images() -> None:
    """Accuracy of 2 of 3: in 27 resamples 0, 1/3, 2/3 and 1 by the binomial law."""
    right = np.array([1, 1, 0])
    exact = [math.comb(3, k) * (2 / 3) ** k * (1 / 3) ** (3 - k) for k in range(4)]
    found = bootstrap.tallies(right, 2, seed=0, resamples=20_000)[:, 1].astype(int)
    share = np.bincount(found, minlength=4) / len(found)
    np.testing.assert_allclose(share, exact, atol=0.01)
    every = [sum(right[list(i)]) for i in itertools.product(range(3), repeat=3)]
    np.testing.assert_allclose(np.bincount(every) / 27, exact)


def test_intervals_depend_on_the_seed_alone() -> None:
    test = single(40, 3, 0)
    assert measured("class", test, 1) == measured("class", test, 1)
    assert measured("class", test, 1).numbers != measured("class", test, 2).numbers


def test_undefined_figures_have_no_interval() -> None:
    assert bootstrap.interval(np.array([NAN, NAN])) is None
    assert bootstrap.interval(np.array([NAN, 0.5])) == (0.5, 0.5)
    found = measured("class", SINGLE["one sample"])
    lost = [of["recall"] for k, of in enumerate(found.per_class) if not found.support[k]]
    assert lost == [{"value": None, "low": None, "high": None}] * 2


@pytest.mark.long
def test_intervals_cover() -> None:
    """In 400 made test splits the interval holds the truth about 95 times of 100."""
    rng = np.random.default_rng(0)
    held = np.zeros(3)
    for i in range(400):
        true = rng.integers(0, 4, 300)
        said = np.where(rng.random(300) < 0.7, true, rng.integers(0, 4, 300))
        scores = torch.eye(4)[said]
        one = measured("class", Scored(scores, torch.tensor(true), 8), i).numbers["accuracy"]
        positive = rng.random((300, 3)) < 0.3
        beside = torch.tensor(rng.standard_normal((300, 3)) + positive)
        labels = Scored(beside, torch.tensor(positive).float(), 8)
        ap = measured("labels", labels, i).numbers["map_micro"]
        size = rng.binomial(40, 0.3, 300)  # images of their own difficulty
        hit = rng.binomial(size, np.clip(rng.normal(0.6, 0.2, 300), 0, 1))
        matrix = np.stack([40 - size, size * 0, size - hit, hit], axis=-1).reshape(-1, 2, 2)
        recall = measured("change", Mapped(torch.tensor(matrix), 8), i).numbers["recall"]
        truths = (0.7 + 0.3 / 4, TRUE_AP, TRUE_RECALL)
        for j, (found, truth) in enumerate(zip((one, ap, recall), truths, strict=True)):
            held[j] += found["low"] <= truth <= found["high"]  # type: ignore[operator]
    share = held / 400
    assert (np.abs(share - 0.95) < 0.03).all(), share


def _true_ap() -> float:
    """Of scores N(1, 1) among N(0, 1), of three in ten: the integral of precision over recall."""
    at = np.linspace(-8, 9, 200_001)
    upper = np.vectorize(lambda x: 0.5 * math.erfc(x / math.sqrt(2)))
    true, false = 0.3 * upper(at - 1), 0.7 * upper(at)
    return float(np.trapezoid((true / (true + false))[::-1], (true / 0.3)[::-1]))


def _true_recall() -> float:
    """Mean of a normal share that is clipped to [0, 1]."""
    x = np.linspace(0.6 - 2, 0.6 + 2, 400_001)
    density = np.exp(-(((x - 0.6) / 0.2) ** 2) / 2) / (0.2 * math.sqrt(2 * math.pi))
    return float(np.trapezoid(np.clip(x, 0, 1) * density, x))


TRUE_AP, TRUE_RECALL = _true_ap(), _true_recall()


# --- on paper


def test_closed_forms() -> None:
    perfect = measured("labels", Scored(torch.tensor([[9.0, -9], [-9, 9]]), torch.eye(2), 2))
    assert set(values(perfect.numbers).values()) == {1.0}
    worst = Scored(torch.tensor([[-1.0, 3, 2, 1]]), torch.tensor([[1.0, 0, 0, 0]]), 1)
    assert values(measured("labels", worst).numbers)["map_micro"] == pytest.approx(1 / 4)
    tied = replace(worst, scores=torch.zeros(1, 4))
    assert values(measured("labels", tied).numbers)["map_micro"] == pytest.approx(1 / 4)
    half = Mapped(torch.tensor([[[5, 0], [5, 0]]]), 1)
    assert values(measured("change", half).numbers) == {
        "f1": 0, "iou": 0, "precision": 0, "recall": 0, "accuracy": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS)
def test_each_number_has_a_value_and_an_interval_around_it(kind: str) -> None:
    tests = {
        "class": single(60, 3, 0),
        "labels": several(60, 3, 0),
        "segment": pixels(60, 3, 0)[2],
        "change": pixels(60, 2, 0)[2],
    }
    numbers = measured(kind, tests[kind]).numbers
    assert tuple(numbers) == NUMBERS[kind]  # type: ignore[index]
    for name, found in numbers.items():
        low, value, high = found["low"], found["value"], found["high"]
        assert low is not None
        assert value is not None
        assert high is not None
        assert 0 <= low < value < high <= 1, name


@pytest.mark.parametrize("name", TASKS)
def test_what_a_task_is_quoted_by_is_a_number_of_its_kind(name: str) -> None:
    made = task(name, {"classes": ["a", "b"]} if name == "folders" else {})
    assert made.metric in NUMBERS[made.kind]


@pytest.mark.parametrize(
    ("test", "sentence"),
    [
        (Scored(torch.zeros(0, 3), torch.zeros(0).long(), 1), "the test split has no image"),
        (
            Scored(torch.tensor([[NAN, 1.0], [0.0, 1.0]]), torch.tensor([0, 1]), 1),
            "scores of 1 of 2 test images are no finite numbers",
        ),
    ],
)
def test_what_cannot_be_measured(test: Scored, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        measured("class", test)
