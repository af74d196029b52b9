"""BigEarthNet's classes: the 43 of CORINE that version 1 has, the 19 that most train on, and how
the ones become the others.

Source: label_indices.json of the data set's authors (rsim/BigEarthNet-S2_19-classes_models). Eleven
of the 43 have no place among the 19, so that a patch may have no label there.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

CLASSES_43 = (
    "Continuous urban fabric",
    "Discontinuous urban fabric",
    "Industrial or commercial units",
    "Road and rail networks and associated land",
    "Port areas",
    "Airports",
    "Mineral extraction sites",
    "Dump sites",
    "Construction sites",
    "Green urban areas",
    "Sport and leisure facilities",
    "Non-irrigated arable land",
    "Permanently irrigated land",
    "Rice fields",
    "Vineyards",
    "Fruit trees and berry plantations",
    "Olive groves",
    "Pastures",
    "Annual crops associated with permanent crops",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland",
    "Moors and heathland",
    "Sclerophyllous vegetation",
    "Transitional woodland/shrub",
    "Beaches, dunes, sands",
    "Bare rock",
    "Sparsely vegetated areas",
    "Burnt areas",
    "Inland marshes",
    "Peatbogs",
    "Salt marshes",
    "Salines",
    "Intertidal flats",
    "Water courses",
    "Water bodies",
    "Coastal lagoons",
    "Estuaries",
    "Sea and ocean",
)
CLASSES_19 = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    "Land principally occupied by agriculture, with significant areas of natural vegetation",
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)
FROM_43 = (
    (0, 1), (2,), (11, 12, 13), (14, 15, 16, 18), (17,), (19,), (20,), (21,), (22,), (23,), (24,),
    (25, 31), (26, 27), (28,), (29,), (33, 34), (35, 36), (38, 39), (40, 41, 42),
)  # fmt: skip
"""Which of the 43 make each of the 19."""
Bits = NDArray[np.uint64]
"""Labels ``[N]``: bit k is set where a patch has class k."""


def bits(labels: Iterable[str], classes: Sequence[str]) -> int:
    """A patch's labels as bits.

    Raises:
        ValueError: names a label that is no class.
    """
    out = 0
    for label in labels:
        if label not in classes:
            raise ValueError(f"{label!r} is none of the {len(classes)} classes")
        out |= 1 << classes.index(label)
    return out


def multi_hot(labels: Bits, classes: int) -> NDArray[np.uint8]:
    """``[N, classes]``, 1 where a patch has the class."""
    shifts = np.arange(classes, dtype=np.uint64)
    return ((labels[:, None] >> shifts) & np.uint64(1)).astype(np.uint8)


def of_43(labels: Bits) -> Bits:
    """The same patches' labels among the 19."""
    out = np.zeros_like(labels)
    for k, some in enumerate(FROM_43):
        mask = np.uint64(sum(1 << one for one in some))
        out |= ((labels & mask) != 0).astype(np.uint64) << np.uint64(k)
    return out
