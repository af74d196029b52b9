"""What a run is asked to do, with everything resolved."""

import dataclasses
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from fastload.cli.opened import assigned
from fastload.processors import processors
from fastload.storage.whole import write_whole
from ssl4eo_train import made, presets
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Method

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, kw_only=True)
class Config:
    """One run, with nothing left to decide but what depends on the data."""

    method: str
    options: dict[str, Any]
    """Of the method, by the fields of its `Options`; what is not here is at its default."""
    loader: str
    data: str | None
    """Where the dataset lies, a folder or URL; None for made scenes."""
    layout: str | None
    """A name of `fastload.datasets.LAYOUTS`; None: what lies there tells."""
    split: str | None
    """None: the one that the layout opens by itself."""
    data_options: dict[str, Any]
    """Further arguments of the layout's class."""
    statistics: str | None
    """By name, or a JSON file; None: as the layout has them."""
    modality: list[str]
    fusion: str
    """How several modalities share a view: ``early`` stacks their bands; ``drop`` does so, but puts
    zeros for one of them, any, in half of the views, as DINO-MM; ``views`` shows one in each view
    and zeros for the others, in turn."""
    bands: list[str] | dict[str, list[str]] | None
    """Names of the bands that are read, of the one modality or by modality; None for all."""
    missing: Literal["error", "drop"]
    """What is done about locations that some modality lacks."""
    resample: int | None
    """Seed of a draw of the locations with replacement, see `ssl4eo_train.resampling`; None: each
    of them once."""
    on_error: Literal["raise", "replace"]
    """What is done about a sample that cannot be read."""
    seasons: Literal["independent", "same", "distinct", "all"] | None
    """Season policy of every view; None for the method's own."""
    arch: str
    image_size: int
    """Side of a view in pixels."""
    batch_size: int
    """Samples a step in each process."""
    accumulate: int
    """Forward passes that a step is split into."""
    epochs: int
    """Length of the schedule; a run without `steps` ends there."""
    epoch_of: Literal["locations", "dates"]
    """What an epoch has as many samples as: locations, or dates of all locations. A pass of the
    loader is over the locations either way; an epoch is several of them."""
    steps: int | None
    """Optimizer steps after which the run ends."""
    init: str | None
    """File of weights that the backbone starts from."""
    device: str
    precision: str
    compile: bool
    checkpointing: bool
    """Recompute activations in the backward pass."""
    device_cache: int
    """Bytes of GPU memory that may hold decoded samples between epochs."""
    workers: int
    seed: int
    lr: float | None
    """Base learning rate; None for the published one."""
    log_every: int
    """Steps between two looks at the loss. Every step is logged all the same."""
    save_every: int | None
    """Steps between checkpoints; None for each epoch, but not more often than 100 steps."""
    out: str
    resume: bool

    def write(self) -> None:
        """Write ``config.json`` into the output folder."""
        text = json.dumps(dataclasses.asdict(self), indent=2) + "\n"
        write_whole(Path(self.out) / "config.json", text)

    def method_options(self) -> Any:
        """The options of the method, as it declares them."""
        return METHODS[self.method].Options(**self.options)


FUSIONS = ("early", "drop", "views")
EPOCHS = ("locations", "dates")
MISSING = ("error", "drop")
ON_ERROR = ("raise", "replace")
LOADERS = ("dali", "threads", "torch")
SEASONS = ("independent", "same", "distinct", "all")
CONTINUED = (
    *("method", "options", "data", "layout", "split", "data_options", "statistics"),
    *("modality", "bands", "missing", "resample", "epoch_of"),
    *("fusion", "seasons", "on_error"),
    *("arch", "image_size", "accumulate", "epochs", "steps", "precision", "seed", "lr"),
    *("checkpointing", "init"),
)
"""What a resumed run takes from its checkpoint where the command line says nothing."""


def resolve(given: Mapping[str, Any], saved: Mapping[str, Any] | None, world: World) -> Config:
    """Fill in what the command line leaves open.

    What is said in several places counts in this order, from the last: defaults, the setting for
    made scenes where there are no data, the file of `--config`, the checkpoint, the command line.

    Args:
        given: the options that were given, by field name.
        saved: ``config`` and ``run`` of the checkpoint of a resumed run.
        world: the processes.

    Raises:
        SetupError: where the options do not fit together.
    """
    said = dict(given)
    words = presets.assignments(said.pop("set", []))
    if "data_options" in said:
        said["data_options"] = _data_options(said["data_options"])
    if "bands" in said:
        said["bands"] = presets.bands(said["bands"])
    file = _file(said.pop("config", None), world)
    device = _device(said.get("device", "auto"))
    kept = {} if saved is None else saved["config"]
    earlier = {name: kept[name] for name in CONTINUED if name in kept}
    if saved is not None:  # With those that were at their defaults, which may be others by now.
        earlier["options"] = saved["run"].get("options", earlier.get("options", {}))
    if "epochs" in said and "steps" not in said:
        earlier.pop("steps", None)  # Asked to go on to another end.
    if saved is not None:
        earlier["batch_size"] = _share(saved["run"]["batch"], world)
    top = {**file, **earlier, **said}
    name = top.get("method", "moco_v2")
    layers = [_always(name, device), _published(METHODS[name], world)]
    if not top.get("data"):
        layers.append(made.SETTINGS[name])
    layers += [file, earlier, said, {"options": words}]
    values = {k: v for layer in layers for k, v in layer.items()}
    options = {k: v for layer in layers for k, v in layer.get("options", {}).items()}
    values |= {"device": device, "options": presets.options(METHODS[name], options)}
    config = Config(**values)
    _check(config)
    return config


def _data_options(words: Any) -> dict[str, Any]:
    """Of the command line, or as a file has them."""
    if isinstance(words, dict):
        return words
    try:
        return assigned(words, "--data-options")
    except ValueError as error:
        raise SetupError(str(error)) from error


def _check(config: Config) -> None:
    """Raises SetupError where the settings do not fit together."""
    choices = {"missing": MISSING, "on_error": ON_ERROR, "fusion": FUSIONS, "epoch_of": EPOCHS}
    for name, known in choices.items():
        if (value := getattr(config, name)) not in known:
            raise SetupError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
    if config.fusion == "drop" and len(config.modality) < 2:
        raise SetupError(f"--fusion drop: {config.modality[0]} alone cannot be dropped")
    if config.loader == "torch" and config.on_error == "replace":
        raise SetupError(
            "--on-error replace: --loader torch cannot replace a sample; choose threads or dali"
        )
    if config.batch_size % config.accumulate:
        raise SetupError(
            f"--accumulate: {config.batch_size} samples cannot be split into {config.accumulate}"
        )


def _file(name: str | None, world: World) -> dict[str, Any]:
    """The settings of a configuration file by field name."""
    if name is None:
        return {}
    content = presets.load(name)
    fields = {f.name for f in dataclasses.fields(Config)} - {"batch_size", "resume"} | {"batch"}
    presets.known(content, fields, f"--config {name}")
    if content.get("method") not in METHODS:
        raise SetupError(f"--config {name}: method must be one of {', '.join(METHODS)}")
    like = {**_always(content["method"], "cpu"), **_published(METHODS[content["method"]], World())}
    like |= {"lr": 0.0, "batch": 1, "resample": 0}
    content = {
        k: presets.fitting(f"--config {name}: {k}", v, like.get(k)) for k, v in content.items()
    }
    if "batch" in content:
        content["batch_size"] = _share(content.pop("batch"), world)
    return content


def _always(method: str, device: str) -> dict[str, Any]:
    """Defaults of every run."""
    return {
        "method": method,
        "options": {},
        "data": None,
        "layout": None,
        "split": None,
        "data_options": {},
        "statistics": None,
        "modality": ["S2L1C"],
        "fusion": "early",
        "bands": None,
        "missing": "error",
        "resample": None,
        "epoch_of": "locations",
        "on_error": "raise",
        "seasons": None,
        "loader": "threads",
        "workers": min(16, processors()),
        "accumulate": 1,
        "steps": None,
        "init": None,
        "precision": "fp32",
        "compile": False,
        "checkpointing": False,
        "device_cache": 0,
        "seed": 0,
        "lr": None,
        # Reading the loss makes the CPU wait for the GPU; on the CPU it costs nothing.
        "log_every": 10 if device == "cuda" else 1,
        "save_every": None,
        "out": f"runs/{method}-{time.strftime('%Y%m%d-%H%M%S')}",
        "resume": False,
    }


def _published(method: Method, world: World) -> dict[str, Any]:
    """Defaults of a run on real data."""
    p = method.PUBLISHED
    return {
        "arch": p.arch,
        "image_size": p.image_size,
        "batch_size": _share(p.batch, world),
        "epochs": p.epochs,
    }


def _share(batch: int, world: World) -> int:
    """Samples for each process, of a step of `batch`."""
    if batch % world.size:
        raise SetupError(
            f"--batch-size: {world.size} processes cannot share a step of {batch} samples evenly"
        )
    return batch // world.size


def _device(wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted == "cuda" and not torch.cuda.is_available():
        raise SetupError("--device cuda: torch finds no GPU here")
    return wanted
