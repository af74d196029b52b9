"""Files of torch, of which no code is run: tensors and plain values, and what stands for those."""

import argparse
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from ssl4eo_train import checkpoint
from ssl4eo_train.errors import SetupError

NUMBER: Callable[..., Any] = np.float64(0).__reduce__()[0]  # type: ignore[assignment]
"""Makes a number of NumPy from its bytes; versions 1 and 2 name it differently."""


class _Name:
    """Stands for a class that a file names and never calls."""


# The arguments that MAE, DINO and data2vec save beside their networks are a Namespace. Lightning
# 1.1, which SeCo used, keeps the state of callbacks under their classes. DINO and data2vec take
# learning rates from NumPy arrays, so that their optimisers hold NumPy's numbers.
SAFE: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    (_Name, "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint"),
    *((NUMBER, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("?", "i4", "i8", "f4", "f8")),
]


def unpickle(path: Path) -> Mapping[str, Any]:
    """Read a file of torch, or the checkpoint in a run's folder, on the CPU.

    Raises:
        SetupError: where it cannot be read, or holds anything but tensors and plain values.
    """
    path = path / checkpoint.NAME if path.is_dir() else path
    try:
        with torch.serialization.safe_globals(SAFE):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        # Torch's own advice is to read such a file all the same.
        named = re.search(r"GLOBAL (\S+)", str(error))
        reason = f"it names {named[1]}" if named else "it is damaged, or of another kind"
        raise SetupError(
            f"{path} cannot be read as weights, that is tensors and plain values: {reason}"
        ) from error
    except Exception as error:  # Torch raises whatever its reader met.
        raise SetupError(f"{path} cannot be read as weights: {error}") from error
    if not isinstance(content, Mapping):
        raise SetupError(f"{path}: expected tensors by name, found a {type(content).__name__}")
    return content
