"""Weights of a backbone from a file: a run's checkpoint, an export, or what others published.

What is known, by its keys: SSL4EO-S12's checkpoints (zhu-xlab/SSL4EO-S12) of MoCo-v2, MoCo-v3,
DINO, MAE and data2vec, SeCo's (ServiceNow/seasonal-contrast), and any file of a bare backbone in
timm's or torchvision's names, such as torchgeo's. No code from a file is run.
"""

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ssl4eo_train import checkpoint, expected, positions
from ssl4eo_train.errors import SetupError
from ssl4eo_train.expected import Expected
from ssl4eo_train.methods import METHODS, Settings

CONTAINERS = ("state_dict", "teacher", "student", "model", "module")
"""Where a published checkpoint keeps a network. DINO evaluates its teacher; ``module`` is what
DeepSpeed makes of data2vec's ``model``."""
PREFIXES = ("encoder_q.", "base_encoder.", "backbone.", "")
"""What names the backbone in it: of MoCo-v2 and SeCo, of MoCo-v3, of DINO; MAE, data2vec and bare
backbones have none. Names inside are timm's, which for ResNets are torchvision's."""
CHILDREN = {"0": "conv1", "1": "bn1", **{str(i + 3): f"layer{i}" for i in range(1, 5)}}
"""SeCo's backbone is an `nn.Sequential` of torchvision's children, so its names are numbers."""
FIRST = "conv1.weight", "patch_embed.proj.weight"
"""What sees the bands."""
EXPORTED = "model.safetensors"
"""The weights in a folder that `ssl4eo_train.export` writes."""
NO_BACKBONE = re.compile(
    r"(fc|head|lm_head|mask_token|decoder_\w+)(\.|$)|.*relative_position_index$"
)
"""Tensors beside the backbone: heads, MAE's decoder, and a table that timm computes."""
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


@dataclass(frozen=True)
class Weights:
    """What a file says of a backbone."""

    source: str
    """The place in the file, in words."""
    tensors: dict[str, Tensor]
    """In timm's names."""
    left_out: tuple[str, ...]
    """What lay beside them and is no part of a backbone, by the first part of its names."""
    radiometry: Expected | None = None
    """What they want to see; None where neither the file nor its layout or name says so."""


def init(backbone: nn.Module, path: Path, own: Expected | None = None) -> str:
    """Give a backbone the weights of a file; returns sentences that say what was done.

    Args:
        backbone: of timm. Positions of another image size are resampled for it.
        path: see `read`.
        own: what the run shows; what of it the weights did not see is said.

    Raises:
        SetupError: where the file is not known, or does not fit; then with the keys that are
            missing, that are not expected, and that have another shape. Nothing is changed then.
    """
    found = read(path)
    said = f"init   {len(found.tensors)} tensors of {path} ({found.source})"
    for words in fit(backbone, found, path):
        said += f"; {words}"
    if found.left_out:
        said += f"; left out {', '.join(found.left_out)}"
    return "\n".join([said, *(f"init   {line}" for line in _radiometry(found.radiometry, own))])


def fit(backbone: nn.Module, found: Weights, path: Path) -> tuple[str, ...]:
    """Load weights into a backbone of timm; returns in words what of them was resampled.

    Raises:
        SetupError: where they do not fit, see `init`. Nothing is changed then.
    """
    tensors, words = positions.resampled(found.tensors, backbone)
    if misfits := list(_misfits(tensors, backbone.state_dict())):
        raise SetupError(f"--init: {path} ({found.source}) does not fit: {'; '.join(misfits)}")
    backbone.load_state_dict(tensors)
    return words


def _radiometry(theirs: Expected | None, own: Expected | None) -> Iterator[str]:
    """Say what weights want to see, and where a run shows something else."""
    if theirs is None:
        yield "which radiometry they were trained with is not known; the run's is used"
        return
    yield f"they want {theirs.words} ({theirs.source})"
    if own is not None:
        yield from (f"warning: {line}" for line in theirs.differences(own))


def load_backbone(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file's backbone, in timm's names, on the CPU. Errors as `read`."""
    return read(path).tensors


def read(path: Path) -> Weights:
    """Find the backbone in a file, or in the folder of a run or of an export.

    Raises:
        SetupError: where the file cannot be read, or no backbone is found in it.
    """
    if (path / EXPORTED).is_file():
        path = path / EXPORTED
    if path.suffix == ".safetensors":
        return _of_safetensors(path)
    content = unpickle(path)
    if is_run(content):
        source = f"backbone of a run of {content['run']['method']}"
        return Weights(source, backbone_of(content), (), expected.of_checkpoint(content))
    return find(content, path)


def _of_safetensors(path: Path) -> Weights:
    """Read tensors, and what an export of ours says of them."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            texts = dict(file.metadata() or {})
            found = find({name: file.get_tensor(name) for name in file.keys()}, path)  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from error
    try:
        radiometry = expected.of_metadata(texts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SetupError(
            f"{path}: its metadata are not as an export has them: {error!r}"
        ) from error
    return found if radiometry is None else replace(found, radiometry=radiometry)


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


def find(content: Mapping[str, Any], path: Path) -> Weights:
    """Find the backbone in what a file holds.

    Raises:
        SetupError: where there is none; names some of the keys.
    """
    place = next((c for c in CONTAINERS if isinstance(content.get(c), Mapping)), "")
    state = {
        name.removeprefix("module."): x
        for name, x in (content[place] if place else content).items()
        if isinstance(x, Tensor)
    }
    prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in state)), "")
    inside = {n.removeprefix(prefix): x for n, x in state.items() if n.startswith(prefix)}
    tensors = {_renamed(n): x for n, x in inside.items() if not NO_BACKBONE.match(n)}
    if not tensors:
        raise SetupError(f"{path} holds no backbone; it has {', '.join(list(content)[:8]) or '-'}")
    beside = {n.split(".")[0]: None for n in inside if NO_BACKBONE.match(n)}
    source = "/".join(p for p in (place, prefix.rstrip(".")) if p) or "a bare backbone"
    radiometry = expected.published(path.name, channels(tensors), _layout(content, prefix, beside))
    return Weights(source, tensors, tuple(beside), radiometry)


def channels(tensors: Mapping[str, Tensor]) -> int:
    """How many bands a backbone's first layer takes; 0 where its name is not known."""
    first = next((tensors[name] for name in FIRST if name in tensors), None)
    return 0 if first is None or first.ndim < 2 else first.shape[1]


def _layout(content: Mapping[str, Any], prefix: str, beside: Mapping[str, None]) -> str:
    """Whose training program writes such a file: "seco", "ssl4eo", or "" where many do."""
    if prefix == "encoder_q." and "pytorch-lightning_version" in content:
        return "seco"
    return "ssl4eo" if prefix or {"mask_token", "lm_head"} & set(beside) else ""


def _renamed(name: str) -> str:
    first, dot, rest = name.partition(".")
    return CHILDREN.get(first, first) + dot + rest


def _misfits(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    """Say how tensors differ from those that a network has."""
    if missing := [name for name in wanted if name not in given]:
        yield f"missing {', '.join(missing)}"
    if unexpected := [name for name in given if name not in wanted]:
        yield f"unexpected {', '.join(unexpected)}"
    for name, x in given.items():
        if name in wanted and x.shape != wanted[name].shape:
            yield f"{name} is {list(x.shape)} in the file and {list(wanted[name].shape)} here"


def is_run(content: Mapping[str, Any]) -> bool:
    """Whether a file is a checkpoint of this package."""
    return content.get("format") in checkpoint.READ and "run" in content


def settings_of(run: Mapping[str, Any]) -> Settings:
    """The settings that a run, as its checkpoint has it, built its learner with."""
    return Settings(
        arch=run["arch"],
        bands=run["bands"],
        image_size=run["image_size"],
        batch=run["batch"],
        accumulate=run["accumulate"],
        seed=run["seed"],
        options=METHODS[run["method"]].Options(**run["options"]),
    )


def backbone_of(saved: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a checkpoint's backbone, in timm's names."""
    learner = METHODS[saved["run"]["method"]].build(settings_of(saved["run"]))
    prefix = next(n for n, module in learner.named_modules() if module is learner.backbone) + "."
    return {n.removeprefix(prefix): x for n, x in saved["model"].items() if n.startswith(prefix)}
