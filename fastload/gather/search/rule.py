"""Which scene is taken of those that are there."""

from dataclasses import dataclass

RULES = {
    "newest": "the newest below the cloud bound that has the centre of the patch, as published",
    "covering": "the newest below the cloud bound that covers the patch",
    "clear": "of those below the cloud bound that cover the patch, the one with the least cloud on "
    "the patch itself",
}


@dataclass(frozen=True)
class Rule:
    """A rule.

    Attributes:
        name: one of `RULES`.
        cloud: share of the whole scene under clouds, 0 to 1, that a scene must be below; None: no
            bound. 0.2 as SSL4EO-S12 was gathered by its script's default; SeCo has 0.1.
        patch_cloud: for "clear": share of the patch under clouds that is good enough. The newest
            scene with no more is taken, and those before it are not looked at.
        pair: whether the two levels of Sentinel-2 must be of the same acquisition. None: in
            "clear". They were gathered apart from each other, and mostly are of the same.
    """

    name: str = "clear"
    cloud: float | None = 0.2
    patch_cloud: float = 0.0
    pair: bool | None = None

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(f"rule {self.name!r}: expected one of {', '.join(RULES)}")
        if self.cloud is not None and not 0 < self.cloud <= 1:
            raise ValueError(f"cloud must be above 0 and at most 1, got {self.cloud!r}")
        if not 0 <= self.patch_cloud <= 1:
            raise ValueError(f"patch_cloud must be 0 to 1, got {self.patch_cloud!r}")

    @property
    def paired(self) -> bool:
        """Whether levels are paired."""
        return self.name == "clear" if self.pair is None else self.pair
