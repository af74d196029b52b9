"""A backbone from a file, with what must be known to show it images."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fastload.bands import plain
from ssl4eo_train import backbones, checkpoint, layouts, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.architecture import arch_of
from ssl4eo_train.expected import Expected
from ssl4eo_train.layouts import Weights
from ssl4eo_train.methods import METHODS, Settings

UNTRAINED = "untrained"
"""In place of a file: a backbone as it is initialised, to compare with."""
Wanted = Literal["reflectance", "imagenet", "seco", "two_sigma", "standardise"]
"""What a network wants to be shown: ``reflectance`` in [0, 1], of 8-bit images their share of 255;
``imagenet``: RGB in [0, 1] less ImageNet's mean, by its standard deviation; ``seco``: the same of
reflectance that is stretched by SeCo's quantiles; ``two_sigma``: two standard deviations about the
mean, to [0, 1]; ``standardise``: by the statistics of the data."""


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
    """Side of the images that the network takes; a transformer takes no other."""
    method: str | None
    """That trained it, as far as the file says."""
    source: str
    """The file, and what was found in it, in words."""
    digest: str
    """SHA-256 of the file, in hexadecimal digits; empty for an untrained one."""
    expected: Expected | None = None
    """Its radiometry in numbers, where the file or what is known of it says them."""


def load(
    path: str,
    *,
    arch: str | None = None,
    channels: tuple[Channel, ...] | None = None,
    wanted: Wanted | None = None,
    image_size: int | None = None,
    seed: int = 0,
) -> Pretrained:
    """Make the backbone of a file, of the folder of a run or an export, or an untrained one.

    Args:
        path: of the file or folder, or `UNTRAINED`.
        arch: what the file does not say; refused where it says another.
        channels: the same.
        wanted: instead of what is known of the file.
        image_size: a transformer's positions are resampled for it; by default that of training.
        seed: of an untrained one's initialisation.

    Raises:
        SetupError: where the file cannot be read, or does not say, and nobody else, what is needed.
    """
    if path == UNTRAINED:
        return _untrained(arch, channels, wanted or "reflectance", image_size or 224, seed)
    try:
        found = weights.read(Path(path))
        return _made(Path(path), found, arch, channels, wanted, image_size)
    except SetupError as error:
        raise SetupError(f"--checkpoint: {error}") from error


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
        call=_call(arch, len(channels), image_size, {}),
        channels=channels,
        wanted=wanted,
        image_size=image_size,
        method=None,
        source=f"{arch} as it is initialised with seed {seed}",
        digest="",
    )


def _made(
    path: Path,
    found: Weights,
    arch: str | None,
    channels: tuple[Channel, ...] | None,
    wanted: Wanted | None,
    image_size: int | None,
) -> Pretrained:
    import timm  # Here, since it takes seconds.

    shown = _channels(path, found, channels)
    size = image_size or found.image_size or 224
    call = dict(found.call or ())
    if not call:
        name = _agreed(path, "--arch", arch, arch_of(found.tensors))
        call = _call(name, len(shown), size, found.tensors)
    elif arch not in (None, call["model_name"]):
        raise SetupError(f"{path} is of {call['model_name']}, not of --arch {arch}")
    if "img_size" in call:
        call["img_size"] = size
    network = timm.create_model(**call)
    told = weights.fit(network, found, path)
    return Pretrained(
        network=network,
        arch=call["model_name"],
        call=call,
        channels=shown,
        wanted=wanted or _wanted(path, found),
        image_size=size,
        method=found.method,
        source="; ".join((f"{path}: {found.source}", *told)),
        digest=_digest(path),
        expected=found.radiometry,
    )


def _channels(path: Path, found: Weights, asked: tuple[Channel, ...] | None) -> tuple[Channel, ...]:
    """What is known of the file's input channels, or else what was asked for."""
    count = layouts.channels(found.tensors)
    said = None
    if found.radiometry is not None:
        named = found.radiometry.bands.items()
        said = tuple(Channel(modality=m, band=band) for m, bands in named for band in bands)
    if said is not None and len(said) != count:
        raise SetupError(
            f"{path} takes {count} channels, of {len(said)} bands: it was trained on several dates "
            "at once, and tasks have one"
        )
    if asked is not None and count not in (0, len(asked)):
        raise SetupError(f"{path} takes {count} channels, but --bands names {len(asked)}")
    if said is not None and asked is not None and _names(said) != _names(asked):
        raise SetupError(f"{path} is of {_words(said)}, not of --bands {_words(asked)}")
    shown = asked or said
    if shown is None:
        raise SetupError(
            f"{path} ({found.source}) does not say which {count} bands it takes; give --modality "
            "and --bands"
        )
    return shown


def _names(channels: tuple[Channel, ...]) -> list[str]:
    return [plain(c.band) for c in channels]


def _words(channels: tuple[Channel, ...]) -> str:
    return ", ".join(c.band for c in channels)


def _agreed(path: Path, option: str, asked: str | None, seen: str | None) -> str:
    """What was asked for, else what the file looks like."""
    if asked is None and seen is None:
        raise SetupError(f"{path} is of no network that is known by its tensors; give {option}")
    return asked or seen or ""


def _call(arch: str, bands: int, image_size: int, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Arguments of `timm.create_model`; of data2vec those of its BEiT."""
    relative = any(name.endswith("relative_position_bias_table") for name in tensors)
    method = "data2vec" if relative else "mae"  # Which stands for all whose backbone is `arch`.
    options = METHODS[method].Options()
    settings = Settings(
        arch=arch, bands=bands, image_size=image_size, batch=1, seed=0, options=options
    )
    return weights.constructor(method, settings)


def _wanted(path: Path, found: Weights) -> Wanted:
    """The kind of radiometry that is known of a file."""
    if found.radiometry is None:
        raise SetupError(
            f"{path} ({found.source}) does not say what was made of its pixels; give --radiometry"
        )
    return found.radiometry.kind


def _digest(path: Path) -> str:
    """SHA-256 of the file, or of the one in a folder."""
    names = (weights.EXPORTED, checkpoint.NAME)
    inside = next((path / name for name in names if (path / name).is_file()), path)
    with inside.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
