"""What the extra `train` brings, and what is said where it is not installed."""

from importlib.util import find_spec

from fastload.extras import missing

TRAIN = {"safetensors": "safetensors", "tensorboard": "TensorBoard", "timm": "timm",
         "yaml": "PyYAML"}  # fmt: skip
"""By the name to import. They are imported where they are used, so that all modules load."""


def lacking(what: str) -> ImportError | None:
    """The error of what cannot be done without the extra; None where it is installed."""
    absent = [label for name, label in TRAIN.items() if find_spec(name) is None]
    return missing(f"{what} needs {', '.join(absent)}", "train") if absent else None
