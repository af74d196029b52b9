"""What the extras `train` and `evaluate` bring, and what is said where they are not installed."""

from importlib.util import find_spec
from typing import Literal

from fastload.extras import missing

TRAIN = {"safetensors": "safetensors", "tensorboard": "TensorBoard", "timm": "timm",
         "yaml": "PyYAML"}  # fmt: skip
EVALUATE = {**TRAIN, "PIL": "Pillow", "h5py": "h5py", "matplotlib": "matplotlib",
            "rasterio": "rasterio", "segmentation_models_pytorch": "segmentation-models-pytorch",
            "sklearn": "scikit-learn", "torchmetrics": "torchmetrics"}  # fmt: skip
"""By the name to import. They are imported where they are used, so that all modules load."""


def lacking(what: str, extra: Literal["train", "evaluate"] = "train") -> ImportError | None:
    """The error of what cannot be done without the extra; None where it is installed."""
    names = TRAIN if extra == "train" else EVALUATE
    absent = [label for name, label in names.items() if find_spec(name) is None]
    return missing(f"{what} needs {', '.join(absent)}", extra) if absent else None
