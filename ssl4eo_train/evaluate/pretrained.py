"""A backbone from a file, with what must be known to show it images."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from ssl4eo_train import backbones, checkpoint, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.export import constructor

UNTRAINED = "untrained"
"""In place of a file: a backbone as it is initialised, to compare with."""
Wanted = Literal["reflectance", "imagenet", "two_sigma", "standardise"]
"""What a network wants to be shown: ``reflectance`` in [0, 1], of 8-bit images their share of 255;
``imagenet``: RGB in [0, 1] less ImageNet's mean, by its standard deviation; ``two_sigma``: two
standard deviations about the mean, to [0, 1]; ``standardise``: by the statistics of the data."""


@dataclass(frozen=True, kw_only=True)
class Channel:
    """One input channel of a network."""

    modality: str
    band: str


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A backbone, and what it wants to see."""

    network: nn.Module
    """Of timm, without a classifier: ``[N, C, h, w]`` to features ``[N, F]``."""
    arch: str
    """Its name in timm."""
    call: dict[str, Any]
    """Arguments of `timm.create_model` that make it anew."""
    channels: tuple[Channel, ...]
    """C of them."""
    wanted: Wanted
    image_size: int
    """That it was trained at; a transformer takes no other."""
    method: str | None
    """That trained it, as far as the file says."""
    source: str
    """The file, and what was found in it, in words."""
    digest: str
    """SHA-256 of the file, in hexadecimal digits; empty for an untrained one."""


def load(
    path: str,
    *,
    arch: str | None = None,
    channels: tuple[Channel, ...] | None = None,
    wanted: Wanted | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Pretrained:
    """Make the backbone of a file, a run's folder, or an untrained one.

    Args:
        path: of the file or folder, or `UNTRAINED`.
        arch, channels, wanted, image_size: what the file does not say.
        seed: of an untrained one's initialisation.

    Raises:
        SetupError: where the file cannot be read, or does not say, and nobody else, what is needed.
    """
    if path == UNTRAINED:
        return _untrained(arch, channels, wanted or "reflectance", image_size or 224, seed)
    content = weights.unpickle(Path(path)) if not path.endswith(".safetensors") else {}
    if weights.is_run(content):
        return _of_run(Path(path), dict(content), image_size)
    if path.endswith(".safetensors"):
        return _of_export(Path(path), image_size)
    raise SetupError(f"--checkpoint: {path} is neither a run's checkpoint nor an export of one")


def _untrained(
    arch: str | None,
    channels: tuple[Channel, ...] | None,
    wanted: Wanted,
    image_size: int,
    seed: int,
) -> Pretrained:
    if arch is None or channels is None:
        raise SetupError(f"--checkpoint {UNTRAINED}: needs --arch, --modality and --bands")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = backbones.build(arch, len(channels), image_size)
    return Pretrained(
        network=network,
        arch=arch,
        call={"model_name": arch, "in_chans": len(channels), "num_classes": 0},
        channels=channels,
        wanted=wanted,
        image_size=image_size,
        method=None,
        source=f"{arch} as it is initialised with seed {seed}",
        digest="",
    )


def _of_run(path: Path, saved: dict[str, Any], image_size: int | None) -> Pretrained:
    call = constructor(saved["run"]["method"], weights.settings_of(saved["run"]))
    file = path / checkpoint.NAME if path.is_dir() else path
    return _made(file, call, weights.backbone_of(saved), saved["run"], image_size)


def _of_export(path: Path, image_size: int | None) -> Pretrained:
    from safetensors import safe_open

    tensors = weights.load_backbone(path)
    with safe_open(path, "pt") as file:
        about = file.metadata() or {}
    if "timm" not in about or "run" not in about:
        raise SetupError(f"--checkpoint: {path} does not say what it wants to see; give --arch")
    return _made(path, json.loads(about["timm"]), tensors, json.loads(about["run"]), image_size)


def _made(
    file: Path, call: dict[str, Any], tensors: dict[str, Any], run: dict[str, Any], size: int | None
) -> Pretrained:
    import timm  # Here, since it takes seconds.

    network = timm.create_model(**call)
    network.load_state_dict(tensors)
    names: dict[str, list[str]] = run["band_names"]
    channels = [Channel(modality=m, band=b) for m, bands in names.items() for b in bands]
    return Pretrained(
        network=network,
        arch=call["model_name"],
        call=call,
        channels=tuple(channels),
        wanted="reflectance",
        image_size=size or run["image_size"],
        method=run["method"],
        source=f"{file}: backbone of a run of {run['method']}",
        digest=hashlib.sha256(file.read_bytes()).hexdigest(),
    )
