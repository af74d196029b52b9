"""``python -m ssl4eo_train.export``: the backbone of a run, as timm, its hub and torchgeo load it.

A safetensors file with timm's key names, or a folder of the hub with one, see `hub`. Its metadata
are strings of JSON: ``timm``, the keyword arguments of `timm.create_model`; ``band_names``, by
modality, in the order of the input channels; ``radiometry``, what makes these of the numbers on
disk; ``statistics`` of the data; ``config`` and ``run``, the whole configuration.
"""

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fastload.storage.whole import whole, write_whole
from ssl4eo_train import expected, hub, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.extras import lacking
from ssl4eo_train.unpickling import unpickle

_CLIPPED = "clip((x - offset) * scale, low, high)"
FORMULAS = {
    "fused": _CLIPPED,
    "clip": f"clip({_CLIPPED}, 0, 1)",
    "uint8": f"floor(255 * {_CLIPPED}) / 255",
    "uint8_wrap": f"floor(255 * {_CLIPPED}) mod 256 / 255",
}
"""What the numbers on disk become, by `View.steps`; a limit that is null is none."""


def export(source: Path, to: Path) -> str:
    """Write the backbone of a checkpoint; returns a sentence that says how to load it.

    Args:
        source: a run's folder, or a checkpoint.
        to: the file to write, replaced as a whole. Its name ends in ``.safetensors``.

    Raises:
        SetupError: where one of them is not that, or the file cannot be written.
    """
    if to.suffix != ".safetensors":
        raise SetupError(
            f"--to: expected a name that ends in .safetensors, or in / for a folder, got {to}"
        )
    saved, call, tensors, _ = _taken(source)
    _write(tensors, {"timm": json.dumps(call), **metadata(saved)}, to)
    words = ", ".join(f"{name}={value!r}" for name, value in call.items())
    return (
        f"{to}: {len(tensors)} tensors after step {saved['step']}\n"
        f"model = timm.create_model({words})\n"
        f"model.load_state_dict(safetensors.torch.load_file({str(to)!r}))"
    )


def export_folder(source: Path, to: Path) -> str:
    """Write the backbone of a checkpoint as a folder of the hub; returns how to load it.

    Args:
        source: a run's folder, or a checkpoint.
        to: the folder; made where it is missing, its files replaced one by one.

    Raises:
        SetupError: where it is none of a run, or cannot be written.
    """
    saved, call, tensors, model = _taken(source)
    wants = expected.of_checkpoint(saved)
    about = hub.config(model, call, wants, saved["run"]["image_size"])
    try:
        to.mkdir(parents=True, exist_ok=True)
        _write(tensors, {"timm": json.dumps(call), **metadata(saved)}, to / weights.EXPORTED)
        write_whole(to / hub.CONFIG, json.dumps(about, indent=2) + "\n")
        write_whole(to / hub.CARD, hub.card(saved, call, wants, to.resolve().name))
    except OSError as error:
        raise SetupError(f"--to: cannot write {to}: {error}") from error
    return (
        f"{to}: {len(tensors)} tensors after step {saved['step']}\n"
        f'model = timm.create_model("local-dir:{to}", pretrained=True)'
    )


def _taken(
    source: Path,
) -> tuple[Mapping[str, Any], dict[str, Any], dict[str, Tensor], nn.Module]:
    """A checkpoint, the arguments of `timm.create_model`, the tensors, and the model they make.

    Raises:
        SetupError: where it is no checkpoint of a run.
    """
    import timm  # Here, since it takes seconds.

    saved = unpickle(source)
    if not weights.is_run(saved):
        raise SetupError(f"{source} is not a checkpoint of a run")
    tensors = {name: x.contiguous() for name, x in weights.backbone_of(saved).items()}
    call = weights.constructor(saved["run"]["method"], weights.settings_of(saved["run"]))
    model: nn.Module = timm.create_model(**call)
    model.load_state_dict(tensors)  # Raises RuntimeError where the metadata would be wrong.
    return saved, call, tensors, model


def metadata(saved: Mapping[str, Any]) -> dict[str, str]:
    """What a file should say of its weights, from a checkpoint."""
    run, config = saved["run"], saved["config"]
    known = expected.statistics_of(saved)
    bands: dict[str, list[str]] = run["band_names"]
    every = run["bands"] // sum(len(names) for names in bands.values())
    dates = saved.get("dates") or dict.fromkeys(bands, every)
    values = {
        "modality": run["modality"],
        "band_names": bands,
        # More than one where a view shows all dates: of each modality, one date after the other.
        "dates": max(dates.values()),
        "dates_by_modality": dates,
        "radiometry": {
            "formula": FORMULAS[expected.recipe_of(run).views[0].steps],
            **expected.numbers_of(saved),
        },
        "statistics": dataclasses.asdict(known),
        "step": saved["step"],
        "config": config,
        "run": run,
    }
    plain = {name: run[name] for name in ("method", "arch")}
    return {"format": "pt", **plain, **{name: json.dumps(x) for name, x in values.items()}}


def _write(tensors: Mapping[str, Tensor], about: Mapping[str, str], to: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        with whole(to) as part:
            save_file(dict(tensors), part, dict(about))
    except (OSError, SafetensorError) as error:
        raise SetupError(f"--to: cannot write {to}: {error}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 where nothing could be exported."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl4eo_train.export",
        description="Write the backbone of a run to a file, or a folder of the hub, that timm and "
        "torchgeo load.",
    )
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="or a run's folder")
    parser.add_argument(
        "--to", required=True, metavar="FILE.safetensors|FOLDER/", help="a folder is one of the hub"
    )
    args = parser.parse_args(argv)
    if error := lacking("the export"):
        print(f"ssl4eo_train.export: {error}", file=sys.stderr)
        return 2
    try:
        is_folder = args.to.endswith(("/", os.sep)) or os.path.isdir(args.to)
        write = export_folder if is_folder else export
        print(write(args.checkpoint, Path(args.to)))
    except SetupError as refusal:
        print(f"ssl4eo_train.export: {refusal}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
