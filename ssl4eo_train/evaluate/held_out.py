"""Splits that a distributor does not ship, as a function of the samples' keys alone."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fastload
from fastload.datasets.entries import texts
from ssl4eo_train.methods.common import expect


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Options of a task for which nobody ships a validation split."""

    val_share: float = 0.1
    """Share of the training samples that validates, where no list says otherwise."""
    val_trains: bool = False
    """Whether those are trained with, too: as published, where nothing is chosen by them."""

    def __post_init__(self) -> None:
        expect(0 < self.val_share < 1, "val_share", self.val_share, "a share between 0 and 1")


def validating(
    dataset: fastload.Dataset, options: Validation
) -> tuple[fastload.Dataset, fastload.Dataset, str]:
    """What trains, what validates, and how that was chosen, in words.

    Args:
        dataset: all that may train.
        options: see there.
    """
    train, val = hold_out(dataset, options.val_share)
    return (dataset if options.val_trains else train), val, chosen_told(options, "samples")


def chosen_told(options: Validation, what: str) -> str:
    """How training samples, or scenes, were chosen to validate, in words."""
    told = f"{options.val_share:.0%} of the training {what}, by their names, validate"
    return f"{told}, and train, too: nothing may be chosen by them" if options.val_trains else told


def shares(dataset: fastload.Dataset, share: float, salt: str) -> NDArray[np.bool_]:
    """Which samples belong to a share, bool ``[N]``: those whose keys' digests are lowest.

    Args:
        dataset: of N samples.
        share: of them, in (0, 1); at least one sample, and never all.
        salt: another one gives another choice.
    """
    keys = texts(dataset._keys)
    return np.isin(np.array(keys), lowest(keys, share, salt))


def lowest(names: Sequence[str], share: float, salt: str) -> list[str]:
    """A share of some names, those whose digests are lowest; at least one, and never all.

    Raises:
        ValueError: where there is but one.
    """
    if len(names) < 2:
        raise ValueError(f"cannot divide {len(names)} samples or scenes into two parts")
    count = min(max(1, round(share * len(names))), len(names) - 1)
    digests = np.array([_digest(f"{salt}/{name}") for name in names], np.uint64)
    return [names[i] for i in np.argsort(digests, kind="stable")[:count].tolist()]


def hold_out(
    dataset: fastload.Dataset, share: float, salt: str = "validation"
) -> tuple[fastload.Dataset, fastload.Dataset]:
    """The dataset without a share of it, and that share, see `shares`."""
    chosen = shares(dataset, share, salt)
    return dataset.subset(~chosen), dataset.subset(chosen)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
