"""Joining modalities by key."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Keys = NDArray[np.bytes_]


def join(keys: Mapping[str, Keys], missing: str) -> dict[str, NDArray[np.int64] | None]:
    """Rows of the keys that all modalities have, in the order of the first; None for all rows.

    Args:
        keys: by modality, bytes ``[N]``, each once.
        missing: "error", or "drop" to leave out keys that some modality lacks.

    Raises:
        ValueError: lists how many keys are missing, and where, unless `missing` is "drop".
    """
    first = next(iter(keys.values()))
    if all(len(k) == len(first) and np.array_equal(k, first) for k in keys.values()):
        return dict.fromkeys(keys)
    common = first
    for other in keys.values():
        common = common[np.isin(common, other)]
    everything = np.unique(np.concatenate(list(keys.values())))
    lacking = {name: np.setdiff1d(everything, k) for name, k in keys.items()}
    report = "; ".join(
        f"{name} lacks {len(k)} of {len(everything)} keys, such as {_some(k)}"
        for name, k in lacking.items()
        if len(k)
    )
    if report and missing == "error":
        raise ValueError(f"modalities do not hold the same keys: {report} (missing='drop' skips)")
    if not len(common):
        raise ValueError(f"no key is in all modalities: {report}")
    if report:
        print(f"{len(everything) - len(common)} keys dropped: {report}")
    return {name: _rows(k, common) for name, k in keys.items()}


def _rows(keys: Keys, wanted: Keys) -> NDArray[np.int64]:
    order = np.argsort(keys, kind="stable")
    return order[np.searchsorted(keys[order], wanted)]


def _some(keys: Keys) -> str:
    return ", ".join(k.decode() for k in keys[:3])
