"""How much a report looks at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """How much is looked at.

    Attributes:
        samples: whose pixels are measured, at most.
        examples: samples that are shown in pictures.
        seed: of the choice of both.
    """

    samples: int = 256
    examples: int = 12
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("samples", 1), ("examples", 0), ("seed", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
