"""Images of the test split to look at, as they lie on disk, and what was said of them.

Some are chosen by their keys alone, so that every evaluation of a task shows the same ones, and
some because what was said of them is wrong and was said with the greatest confidence. Of one label
an image the report's command makes them; a protocol that maps pixels makes its own by `by_digest`,
`pictures` and `ssl4eo_train.evaluate.outcome.Example`, and may say `wrongest` by images.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastload.inspect.pictures import Picture
from fastload.inspect.pictures import pictures as kinds
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.outcome import Example, Mapped, Scored
from ssl4eo_train.evaluate.task import MASK

COUNT = 6
"""Of each choice."""
Image = NDArray[np.uint8]


def by_digest(bench: Bench, count: int = COUNT) -> list[int]:
    """Some test samples, chosen by their keys alone."""
    digests = [
        hashlib.blake2b(f"examples/{key}".encode(), digest_size=8).digest()
        for key in bench.splits["test"].keys
    ]
    return sorted(range(len(digests)), key=digests.__getitem__)[:count]


def wrongest(bench: Bench, wrong: Tensor, count: int = COUNT) -> list[int]:
    """The test samples that are most wrong.

    Args:
        bench: the task; N samples are tested.
        wrong: of each how wrong it is, above 0 where at all, ``[N]``.
        count: at most.
    """
    order = wrong.argsort(descending=True, stable=True)[:count].tolist()
    return [i for i in order if wrong[i] > 0]


def of_scores(bench: Bench, test: Scored | Mapped) -> list[Example]:
    """Examples of what was said of images; none of what was said of pixels."""
    if isinstance(test, Mapped):
        return []
    several = test.targets.ndim == 2
    wrong = _wrong_labels(test) if several else _wrong_class(test)
    rows = list(dict.fromkeys([*by_digest(bench), *wrongest(bench, wrong)]))
    keys = bench.splits["test"].keys
    return [Example(str(keys[i]), pictures(bench, i), *_names(bench, test, i)) for i in rows]


def _wrong_class(test: Scored) -> Tensor:
    """By how much the score of what was said is above that of what is true."""
    true = test.scores.gather(1, test.targets[:, None]).squeeze(1)
    return (test.scores.max(dim=1).values - true).double()


def _wrong_labels(test: Scored) -> Tensor:
    """By how much the farthest probability is beyond 0.5 on the wrong side."""
    far = (_probabilities(test) - test.targets).abs().max(dim=1).values
    return (far - 0.5).clamp(min=0).double()


def _probabilities(test: Scored) -> Tensor:
    return test.scores.sigmoid() if test.logits else test.scores


def _names(bench: Bench, test: Scored, i: int) -> tuple[str, str]:
    """What is true of an image, and what was said."""
    classes = bench.task.classes
    if test.targets.ndim == 1:
        return classes[int(test.targets[i])], classes[int(test.scores[i].argmax())]
    said = _probabilities(test)[i] > 0.5
    return _listed(classes, test.targets[i] == 1), _listed(classes, said)


def _listed(classes: Sequence[str], which: Tensor) -> str:
    names = [name for name, one in zip(classes, which.tolist(), strict=True) if one]
    return ", ".join(names) or "none"


def pictures(bench: Bench, row: int) -> list[Image]:
    """A test sample as it lies on disk, uint8 ``[H, W, 3]`` a date, in true colour where its bands
    allow it.

    Raises:
        DataError: where it cannot be read.
    """
    dataset = bench.splits["test"]
    names = [name for name in dataset.modalities if name != MASK]
    found = [_first(bench, name, row) for name in names]
    best = next((p for p in found if p[0].kind == "true colour"), found[0])
    return [picture.pixels for picture in best]


def _first(bench: Bench, name: str, row: int) -> list[Picture]:
    dataset = bench.splits["test"]
    modality = dataset.modalities[name]
    return next(kinds(modality, dataset.read(name, row)))


def classes_of(labels: Tensor) -> Image:
    """Class numbers ``[h, w]`` for `Example.truth` and `Example.said`."""
    return labels.to(torch.uint8).cpu().numpy()
