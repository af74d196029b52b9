"""Probes and figures against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score

from ssl4eo_train import knn
from ssl4eo_train.evaluate.classify import probes
from ssl4eo_train.evaluate.numbers import figures


def features(classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    y = torch.randint(0, classes, (90,), generator=g)
    centres = torch.randn(classes, 6, generator=g)
    return centres[y] + torch.randn(90, 6, generator=g), y


@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-4])
def test_regression_of_one_label_is_scikit_learns(l2: float) -> None:
    """C is 1 / (l2 N)."""
    x, y = features()
    theirs = LogisticRegression(C=1 / (l2 * len(x)), tol=1e-10, max_iter=10_000).fit(x, y)
    ours = probes.logistic(x, y, 3, "class", l2, steps=2000)
    np.testing.assert_allclose(ours.weight.T.numpy(), theirs.coef_, atol=2e-4)
    chance = ours.scores(x).softmax(dim=1).numpy()
    np.testing.assert_allclose(chance, theirs.predict_proba(x.numpy()), atol=1e-4)


def test_regression_of_several_labels_is_scikit_learns_of_each() -> None:
    """One against the rest."""
    x, y = features(4)
    targets = torch.stack([(y == 0) | (y == 1), y == 2], dim=1).float()
    ours = probes.logistic(x, targets, 2, "labels", 1e-2)
    for k in range(2):
        model = LogisticRegression(C=1 / (1e-2 * len(x)), tol=1e-10, max_iter=10_000)
        theirs = model.fit(x, targets[:, k])
        np.testing.assert_allclose(ours.weight[:, k].numpy(), theirs.coef_[0], atol=2e-4)
        np.testing.assert_allclose(ours.bias[k].item(), theirs.intercept_[0], atol=2e-4)


def test_regression_by_chunks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many rows are looked at once."""
    x, y = features()
    whole = probes.logistic(x, y, 3, "class", 1e-2)
    monkeypatch.setattr(probes, "CHUNK", 13)
    parts = probes.logistic(x, y, 3, "class", 1e-2)
    torch.testing.assert_close(parts.weight, whole.weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(parts.scores(x), whole.scores(x), atol=1e-5, rtol=0)


def test_average_precision_is_scikit_learns() -> None:
    """With ties as well."""
    rng = np.random.default_rng(3)
    for decimals in (1, 6):
        scores = torch.from_numpy(rng.random((40, 5)).round(decimals))
        targets = torch.from_numpy((rng.random((40, 5)) < 0.3).astype(np.float32))
        theirs = average_precision_score(targets, scores, average="micro")
        assert figures.figure("labels", scores, targets) == pytest.approx(theirs, abs=1e-12)
    assert figures.figure("labels", scores, torch.zeros(40, 5)) == 0


def test_standardised_features_have_mean_zero_and_deviation_one() -> None:
    """One that never changes becomes zero."""
    x, _ = features()
    x[:, 2] = 7
    shown = probes.Standard.of(x)(x)
    torch.testing.assert_close(shown.mean(0), torch.zeros(6), atol=1e-6, rtol=0)
    wanted = torch.tensor([1.0, 1, 0, 1, 1, 1])
    torch.testing.assert_close(shown.std(0, correction=0), wanted, atol=1e-6, rtol=0)


def test_orders_are_permutations_by_epoch() -> None:
    """Without what is less than a batch."""
    first = torch.cat(list(probes.orders(10, 3, 5, 0)))
    assert len(first) == 9
    assert len(set(first.tolist())) == 9
    assert torch.equal(first, torch.cat(list(probes.orders(10, 3, 5, 0))))
    assert not torch.equal(first, torch.cat(list(probes.orders(10, 3, 5, 1))))
    assert [len(x) for x in probes.orders(2, 8, 0, 0)] == [2]


def test_votes_for_several_labels_are_shares() -> None:
    """By the same weights as votes for one."""
    bank = torch.eye(3)
    labels = torch.tensor([[1, 0], [1, 1], [0, 1]])
    query = torch.tensor([[1.0, 1.0, 0.0]])
    shares = knn.votes(bank, labels, query, 2, neighbours=2)
    torch.testing.assert_close(shares, torch.tensor([[1.0, 0.5]]))
    weight = torch.tensor([2**-0.5, 2**-0.5, 0.0]).div(0.07).exp()
    everyone = knn.votes(bank, labels, query, 2, neighbours=3)
    torch.testing.assert_close(everyone[0], (weight @ labels.float()) / weight.sum())
