"""A tiny EuroSAT, and what is run on it."""

from pathlib import Path
from typing import Any

from ssl4eo_train.evaluate.__main__ import main
from tests.fastload.trees import eurosat

CLASSES = ("AnnualCrop", "Forest", "SeaLake")
KEYS = [f"{name}_{i}" for name in CLASSES for i in range(1, 9)]
BACKBONE = ["--checkpoint", "untrained", "--arch", "test_resnet", "--image-size", "32",
            "--modality", "S2RGB", "--bands", "R", "G", "B"]  # fmt: skip


def tree(root: Path) -> Path:
    """JPEGs of three classes, with lists of three splits."""
    eurosat.rgb(root, keys=KEYS)
    for i, split in enumerate(("train", "test", "val")):
        names = [key for j, key in enumerate(KEYS) if (j % 4 == 3) * 2 + (j % 4 == 1) == i]
        (root / f"eurosat-{split}.txt").write_text("\n".join(f"{name}.jpg" for name in names))
    return root


def run(data: Path, out: Path, *further: Any, backbone: list[str] = BACKBONE) -> int:
    """The command line; returns the exit status."""
    fixed = ["--task", "eurosat_rgb", "--protocol", "knn", "--workers", "1", "--device", "cpu"]
    return main([*fixed, *backbone, "--data", str(data), "--out", str(out), *map(str, further)])
