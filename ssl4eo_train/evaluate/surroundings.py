"""What computed: libraries, device, and the commit of this package."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

LIBRARIES = (
    "torch", "timm", "torchmetrics", "numpy", "scikit-learn", "segmentation-models-pytorch",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Of Python and of those of `LIBRARIES` that are installed."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def device(of: torch.device) -> str:
    """The device in words."""
    if of.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(of)}"
    return f"{of.type}: {platform.machine()}, {torch.get_num_threads()} threads"


def commit() -> str | None:
    """The commit that this package's files are of, with ``-dirty`` where some were changed; None
    where they are in no repository, or git is not there."""
    here = Path(__file__)
    try:
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(folder: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *words], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()
