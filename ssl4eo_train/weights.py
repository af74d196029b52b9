"""Weights of a backbone from a file: a run's checkpoint, an export, or what others published.

What is known, by its keys: SSL4EO-S12's checkpoints (zhu-xlab/SSL4EO-S12) of MoCo-v2, MoCo-v3,
DINO, MAE and data2vec, SeCo's (ServiceNow/seasonal-contrast), and any file of a bare backbone in
timm's or torchvision's names, such as torchgeo's. No code from a file is run.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ssl4eo_train import checkpoint, expected, positions
from ssl4eo_train.errors import SetupError
from ssl4eo_train.expected import Expected
from ssl4eo_train.layouts import Weights, find
from ssl4eo_train.methods import METHODS, Settings
from ssl4eo_train.unpickling import unpickle

EXPORTED = "model.safetensors"
"""The weights in a folder that `ssl4eo_train.export` writes."""


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
    try:
        said += "".join(f"; {words}" for words in fit(backbone, found, path))
    except SetupError as error:
        raise SetupError(f"--init: {error}") from error
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
        raise SetupError(f"{path} ({found.source}) does not fit: {'; '.join(misfits)}")
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
        return _of_run(content)
    return find(content, path)


def _of_run(saved: Mapping[str, Any]) -> Weights:
    run = saved["run"]
    return Weights(
        f"backbone of a run of {run['method']}",
        backbone_of(saved),
        (),
        expected.of_checkpoint(saved),
        run["method"],
        constructor(run["method"], settings_of(run)),
        run["image_size"],
    )


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
        return _described(found, texts)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SetupError(
            f"{path}: its metadata are not as an export has them: {error!r}"
        ) from error


def _described(found: Weights, texts: Mapping[str, str]) -> Weights:
    """With what an export says. Errors as `expected.of_metadata`."""
    radiometry = expected.of_metadata(texts)
    if radiometry is None:
        return found
    run, call = json.loads(texts["run"]), json.loads(texts["timm"])
    return replace(
        found,
        source=f"an export of a run of {run['method']}",
        radiometry=radiometry,
        method=run["method"],
        call=dict(call),
        image_size=run["image_size"],
    )


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


def constructor(method: str, settings: Settings) -> dict[str, Any]:
    """Keyword arguments of `timm.create_model` that make a run's backbone again."""
    import timm  # Here, since it takes seconds.

    # A method whose backbone is not the one that `settings.arch` names says so itself.
    special = getattr(METHODS[method], "backbone_options", None)
    if special is not None:
        return dict(special(settings))
    call = {"model_name": settings.arch, "in_chans": settings.bands, "num_classes": 0}
    if timm.models.is_model_in_modules(settings.arch, ["vision_transformer"]):
        call["img_size"] = settings.image_size
    return call
