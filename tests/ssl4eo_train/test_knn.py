import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import fastload
from fastload.storage.store import Local
from fastload.synth import synth
from fastload_kernels import View
from ssl4eo_train import data, knn
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError

pytestmark = pytest.mark.timeout(60)

LOCATIONS, PIXELS, SIDE = 24, 24, 16
MODALITIES = ["S2L1C", "S1GRD"]


def slow_votes(
    bank: Tensor, labels: Tensor, queries: Tensor, classes: int, k: int, temperature: float
) -> Tensor:
    table = []
    for q in queries.tolist():
        said = []
        for b, label in zip(bank.tolist(), labels.tolist(), strict=True):
            dot = sum(x * y for x, y in zip(q, b, strict=True))
            said.append((dot / math.dist(q, [0] * len(q)) / math.dist(b, [0] * len(b)), label))
        sums = [0.0] * classes
        for cosine, label in sorted(said, reverse=True)[:k]:
            sums[label] += math.exp(cosine / temperature)
        table.append(sums)
    return torch.tensor(table)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (5, 1.0), (99, 0.5)])
def test_votes_are_those_of_slow_loops(k: int, temperature: float) -> None:
    torch.manual_seed(0)
    bank, queries, labels = torch.randn(13, 4), torch.randn(7, 4), torch.randint(3, (13,))
    found = knn.votes(bank, labels, queries, 3, k, temperature)
    expected = slow_votes(bank, labels, queries, 3, k, temperature)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=0)


def test_one_near_neighbour_outweighs_two_far_ones() -> None:
    """Cosines 1, 0 and 0: e^(1 / 0.07) for one label, 2 for the other; lengths do not count."""
    bank = torch.tensor([[5.0, 0.0], [0.0, 1.0], [0.0, 9.0]])
    found = knn.votes(bank, torch.tensor([0, 1, 1]), torch.tensor([[0.1, 0.0]]), 3)
    torch.testing.assert_close(found, torch.tensor([[math.exp(1 / 0.07), 2.0, 0.0]]))


def test_frozen_puts_every_mode_back() -> None:
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.BatchNorm1d(2).eval())
    before = {name: x.clone() for name, x in network.state_dict().items()}
    with knn.frozen(network):
        assert not any(module.training for module in network.modules())
        assert not network(torch.randn(4, 2) + 3).requires_grad
    with pytest.raises(RuntimeError), knn.frozen(network):
        network(torch.randn(4, 5))
    assert [module.training for module in network] == [True, True, False]
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    return synth(root, LOCATIONS, modalities=MODALITIES, size=PIXELS)


def opened(root: Path, **given: Any) -> tuple[Config, fastload.SSL4EOS12]:
    words = {"device": "cpu", "data": str(root), "image_size": SIDE, "workers": 1, **given}
    config = resolve(words, None, World())
    recipe = data.wanted(config, False)
    return config, fastload.SSL4EOS12(
        root, modalities=config.modality, recipe=recipe, progress=False
    )


def probe_of(root: Path, **given: Any) -> knn.Probe:
    probe = knn.probe(*opened(root, **given))
    assert probe is not None
    return probe


class Seen(nn.Module):
    """Keeps what it is shown; the features are the means of the bands."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.images: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        assert not self.training
        self.images.append(x)
        return x.mean(dim=(2, 3)) * self.weight


def test_whole_squares_of_the_first_date_are_shown(scenes: Path) -> None:
    probe, seen = probe_of(scenes), Seen()
    assert 0 <= probe.accuracy(seen) <= 1
    images = torch.cat(seen.images)
    assert seen.training
    view = View(size=SIDE, scale=(1.0, 1.0), center=True, timestamp=0)
    recipe = fastload.Recipe((view,), fastload.Radiometry.reflectance())
    slow = fastload.SSL4EOS12(scenes, recipe=recipe, progress=False)
    expected = torch.stack([slow[i]["S2L1C"][0] for i in probe.samples])
    torch.testing.assert_close(images, expected, rtol=0, atol=1e-5)


def test_accuracy_is_the_share_of_queries_that_win_the_vote(scenes: Path) -> None:
    probe, seen = probe_of(scenes), Seen()
    accuracy = probe.accuracy(seen)
    features = torch.cat(seen.images).mean(dim=(2, 3))
    bank, ask = features[~probe.is_query], features[probe.is_query]
    K = len(probe.classes)
    said = slow_votes(bank, probe.labels[~probe.is_query], ask, K, 20, 0.07).argmax(dim=1)
    right = (said == probe.labels[probe.is_query]).tolist()
    assert accuracy == pytest.approx(sum(right) / len(right))
    table = knn.labels_of(Local(scenes / "train"))
    assert table is not None
    names = [f"{i:07d}" for i in probe.samples]  # Made keys are the numbers of the samples.
    assert [probe.classes[i] for i in probe.labels.tolist()] == [table[n] for n in names]
    votes = [table[n] for n, q in zip(names, probe.is_query.tolist(), strict=True) if not q]
    asked = [table[n] for n, q in zip(names, probe.is_query.tolist(), strict=True) if q]
    most = max(probe.classes, key=votes.count)
    assert probe.majority == pytest.approx(asked.count(most) / len(asked))


def test_halves_depend_on_keys_alone(scenes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, dataset = opened(scenes)
    table = knn.labels_of(Local(scenes / "train"))
    assert table is not None

    def halves(labels: dict[str, str]) -> dict[int, bool]:
        probe = knn.Probe(config, dataset, labels)
        return dict(zip(probe.samples, probe.is_query.tolist(), strict=True))

    everything = halves(table)
    assert sorted(everything) == list(range(LOCATIONS))
    assert 0.2 < sum(everything.values()) / LOCATIONS < 0.8
    some = halves({key: table[key] for key in sorted(table)[::2]})
    assert some == {i: everything[i] for i in range(0, LOCATIONS, 2)}
    monkeypatch.setattr(knn, "MOST", 10)
    few = halves(table)
    assert len(few) == 10
    assert few.items() <= everything.items()


def test_several_modalities_and_dates(scenes: Path) -> None:
    for given, bands in (
        ({}, 13),
        ({"modality": MODALITIES}, 15),
        ({"modality": MODALITIES, "seasons": "all"}, 60),
        ({"modality": MODALITIES, "fusion": "views"}, 15),
    ):
        seen = Seen()
        probe_of(scenes, **given).accuracy(seen)
        images = torch.cat(seen.images)
        assert images.shape == (LOCATIONS, bands, SIDE, SIDE)
        assert images[:, 13:15].any() == (bands > 13 and "fusion" not in given)


def test_a_network_and_random_numbers_stay_as_they_were(scenes: Path) -> None:
    network = nn.Sequential(
        nn.Conv2d(13, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    before = {name: x.clone() for name, x in network.state_dict().items()}
    state = torch.get_rng_state()
    probe = probe_of(scenes)
    assert probe.accuracy(network) == probe.accuracy(network)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(x, before[name]) for name, x in network.state_dict().items())
    assert all(module.training for module in network.modules())


@pytest.fixture
def table(scenes: Path) -> Iterator[Path]:
    """The side table, put back afterwards."""
    path = scenes / "train" / knn.TABLE
    content = path.read_bytes()
    yield path
    path.write_bytes(content)


def test_side_tables_that_are_not_there_or_of_no_use(scenes: Path, table: Path) -> None:
    table.write_text("key,cover\n0000000,water\n")
    with pytest.raises(SetupError, match=r"labels\.csv: expected columns key and label, found"):
        probe_of(scenes)
    table.write_text("key,label\n0000000,water\n")
    with pytest.raises(SetupError, match="1 labelled locations are too few"):
        probe_of(scenes)
    table.unlink()
    assert knn.probe(*opened(scenes)) is None
