"""How well the nearest neighbours in a backbone's features tell the label of a location.

Weighted k-NN over frozen features, as DINO's code has it (Caron et al., arXiv:2104.14294, appendix
F; facebookresearch/dino, eval_knn.py). Nothing is trained on the labels, which serve for this only.
"""

import copy
import csv
import dataclasses
import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fastload
from fastload.storage.at import at
from fastload.storage.store import Store
from fastload_kernels import View
from ssl4eo_train import data, made
from ssl4eo_train.config import Config
from ssl4eo_train.errors import SetupError

NEIGHBOURS, TEMPERATURE = 20, 0.07
TABLE = "labels.csv"
"""Beside the modalities of a split, as `python -m fastload synth` writes it."""
MOST = 2048
"""Locations that a probe looks at."""
BATCH = 64


def votes(
    bank: Tensor,
    labels: Tensor,
    queries: Tensor,
    classes: int,
    neighbours: int = NEIGHBOURS,
    temperature: float = TEMPERATURE,
) -> Tensor:
    """What the nearest neighbours say: each votes for its label with ``exp(cosine / temperature)``.

    Args:
        bank: features ``[B, F]``, of any length.
        labels: theirs, int64 ``[B]``, from 0 to `classes` - 1; or several each, 0 and 1 ``[B, K]``.
        queries: features ``[Q, F]``.
        classes: K.
        neighbours: how many vote; all of the bank where it has fewer.
        temperature: divides the cosines.

    Returns:
        float32 ``[Q, K]``: sums of votes, or of several labels shares of them.
    """
    cosine = F.normalize(queries.float(), dim=1) @ F.normalize(bank.float(), dim=1).T  # [Q, B]
    nearest, which = cosine.topk(min(neighbours, len(bank)), dim=1)  # [Q, k]
    weight = (nearest / temperature).exp()
    if labels.ndim == 2:
        share = weight / weight.sum(dim=1, keepdim=True)
        return torch.einsum("qn,qnk->qk", share, labels[which].float())
    sums = torch.zeros(len(queries), classes, device=queries.device)
    return sums.scatter_add_(1, labels[which], weight)


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards each module is in the mode it was in."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def labels_of(folder: Store) -> dict[str, str] | None:
    """Read a side table: the label of each key; None where there is no table.

    Raises:
        SetupError: where it has no such columns.
    """
    if TABLE not in folder.filenames(TABLE):
        return None
    text = folder.content(TABLE).decode("utf-8")
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not {"key", "label"} <= set(rows.fieldnames or ()):
        path = folder.path(TABLE)
        raise SetupError(f"{path}: expected columns key and label, found {rows.fieldnames}")
    return {row["key"]: row["label"] for row in rows}


class Probe:
    """The k-NN accuracy of a backbone on the labelled locations of a dataset.

    Each location is shown once: its first date (or all, where the run's views show all), the whole
    square resampled to the size of a view, in the radiometry of the run. Half of the locations are
    the bank, half are asked for; which ones is a function of their keys alone.

    Args:
        config: the run's.
        dataset: with a recipe.
        labels: by key. Locations without one are left out; of more than `MOST`, those stay whose
            keys' digests are lowest.

    Raises:
        SetupError: where no location is left for one of the halves.
    """

    def __init__(
        self, config: Config, dataset: fastload.Dataset, labels: Mapping[str, str]
    ) -> None:
        self._config, self._dataset = config, dataset
        names = [str(key) for key in dataset.keys]
        digests = {n: hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names}
        # Once, also where they were drawn with replacement.
        kept = sorted((n for n in digests if n in labels), key=lambda n: digests[n])[:MOST]
        row = {name: i for i, name in enumerate(names)}
        self.samples = [row[name] for name in kept]
        """Sample ids ``[S]``."""
        self.classes = sorted({labels[name] for name in kept})
        self.labels = torch.tensor([self.classes.index(labels[name]) for name in kept])
        """Of the samples, int64 ``[S]``."""
        self.is_query = torch.tensor([digests[name][-1] % 2 == 1 for name in kept])
        """Which samples are asked for, bool ``[S]``; the others are the bank."""
        if len(set(self.is_query.tolist())) < 2:
            raise SetupError(f"k-NN: {len(kept)} labelled locations are too few for two halves")

    @property
    def majority(self) -> float:
        """Accuracy of always saying the label that is most frequent in the bank."""
        most = self.labels[~self.is_query].bincount().argmax()
        return (self.labels[self.is_query] == most).float().mean().item()

    def accuracy(self, backbone: nn.Module) -> float:
        """Share of the queries whose label wins the vote.

        Leaves the backbone and torch's random numbers as they were. A CPU-GPU sync.

        Args:
            backbone: images ``[N, C, h, w]`` to features ``[N, F]``.
        """
        with frozen(backbone):
            device = next(backbone.parameters()).device
            found = torch.cat([backbone(x).float() for x in self.images(device)])
            labels, is_query = self.labels.to(device), self.is_query.to(device)
            bank, queries = found[~is_query], found[is_query]
            said = votes(bank, labels[~is_query], queries, len(self.classes)).argmax(dim=1)
            return (said == labels[is_query]).float().mean().item()

    def images(self, device: torch.device) -> Iterable[Tensor]:
        """All samples in order, ``[N, C, h, w]`` at a time."""
        config, recipe = self._config, self._dataset.recipe
        assert recipe is not None
        view = View(
            size=config.image_size,
            scale=(1.0, 1.0),
            center=True,
            timestamp="all" if config.seasons == "all" else 0,
            steps=recipe.views[0].steps,  # Where a run sees grey levels, so does its probe.
        )
        shown = copy.copy(self._dataset)  # Its scalings hold, as the radiometry stays.
        shown.recipe = dataclasses.replace(recipe, views=(view,))
        batches = fastload.DataLoader(
            shown.subset(self.samples),
            batch_size=BATCH,
            num_workers=config.workers,
            rank=0,  # All of them in this process, whatever the others do.
            world_size=1,
        )
        for batch in batches:
            yield data.views(batch, config, device)[0]


def probe(config: Config, dataset: fastload.Dataset) -> Probe | None:
    """The probe of a run; None where its data come without labels."""
    root = at(config.data or made.folder_of(config.modality))
    labels = labels_of(root.below(config.split or "train"))
    return None if labels is None else Probe(config, dataset, labels)
