"""Counts by bins, as plain values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def histogram(values: ArrayLike, edges: Sequence[float]) -> dict[str, Any]:
    """How many values lie in each bin ``[edge, next edge)``; the last bin has its upper edge, too.
    What is no number is in none.

    Args:
        values: any shape.
        edges: of the bins, ascending; infinity, None in the result, leaves the last one open.
    """
    found = np.asarray(values, np.float64).ravel()
    counts, _ = np.histogram(found[np.isfinite(found)], np.asarray(edges, np.float64))
    plain = [float(edge) if np.isfinite(edge) else None for edge in edges]
    return {"edges": plain, "counts": counts.tolist()}
