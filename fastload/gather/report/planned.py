"""What is asked of a plan."""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Plan(Protocol):
    """N locations with K candidates each, D dates a candidate, such as `fastload.gather.plan`'s."""

    @property
    def attempt(self) -> NDArray[np.int32]:
        """Number of each candidate's draw ``[N, K]``."""

    @property
    def lon(self) -> NDArray[np.float64]:
        """Longitudes ``[N, K]`` in degrees."""

    @property
    def lat(self) -> NDArray[np.float64]:
        """Latitudes ``[N, K]`` in degrees."""

    @property
    def days(self) -> NDArray[np.int32]:
        """Each window's first day and the day after its last ``[N, K, D, 2]``, since 1970."""

    def __len__(self) -> int: ...

    def key(self, i: int) -> str:
        """Key of a location's sample."""

    def describe(self) -> dict[str, Any]:
        """Settings and sources as JSON has them."""
