"""A folder in the format of timm's models on the Hugging Face hub.

``config.json`` says which model to make and what it takes, ``model.safetensors`` are the weights
with the metadata of an export, ``README.md`` is the model card.
"""

import json
from collections.abc import Mapping
from typing import Any

from torch import nn

from ssl4eo_train.expected import Expected

CONFIG, CARD = "config.json", "README.md"
BYTE = 255
"""timm's images are shares of it."""


def config(model: nn.Module, call: Mapping[str, Any], wants: Expected, size: int) -> dict[str, Any]:
    """What timm reads.

    Args:
        model: made by `call`.
        call: arguments of `timm.create_model`.
        wants: what the weights want to see, of which ``mean`` and ``std`` are made: of reflectance
            in Sentinel-2's modalities, of shares of 255 in images of 8 bits, elsewhere of the
            numbers on disk.
        size: side of an image in pixels.
    """
    kept: dict[str, Any] = getattr(model, "pretrained_cfg", {})
    arguments = {n: x for n, x in call.items() if n not in ("model_name", "num_classes")}
    mean, std = _mean_std(wants, call["in_chans"])
    return {
        "architecture": call["model_name"],
        "num_classes": 0,
        "num_features": model.num_features,
        "model_args": arguments,
        "pretrained_cfg": {
            "input_size": [call["in_chans"], size, size],
            "fixed_input_size": "img_size" in call,
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": mean,
            "std": std,
            "num_classes": 0,
            "pool_size": None,
            "first_conv": kept.get("first_conv"),
            "classifier": kept.get("classifier"),
            "custom_load": False,
        },
    }


def _mean_std(wants: Expected, channels: int) -> tuple[list[float], list[float]]:
    """What is subtracted, and what is divided by then; again for each date that a view shows."""
    mean: list[float] = []
    std: list[float] = []
    for name, scaling in wants.scalings.items():
        one = BYTE if name == "S2RGB" else 1
        mean += [round(float(x) / one, 6) for x in scaling.offset]
        std += [round(1 / float(x) / one, 6) for x in scaling.scale]
    dates = channels // len(mean)
    return mean * dates, std * dates


def card(saved: Mapping[str, Any], call: Mapping[str, Any], wants: Expected, name: str) -> str:
    """The model card, Markdown.

    Args:
        saved: the checkpoint.
        call: arguments of `timm.create_model`.
        wants: what the weights want to see.
        name: of the repository, for its commands.
    """
    run = saved["run"]
    return CARD_TEXT.format(
        name=name,
        arch=call["model_name"],
        method=run["method"],
        step=saved["step"],
        channels=call["in_chans"],
        size=run["image_size"],
        words=wants.words.replace("; ", "\n- "),
        torchgeo=_torchgeo(call, name),
        run=json.dumps(run, indent=2),
    )


def _torchgeo(call: Mapping[str, Any], name: str) -> str:
    """How torchgeo loads it."""
    from ssl4eo_train.torchgeo import constructor

    known = constructor(call["model_name"])
    if known is None:
        return f"torchgeo has no constructor of {call['model_name']}; use timm."
    size = f", img_size={call['img_size']}" if call.get("img_size", 224) != 224 else ""
    return (
        "```python\nimport torchgeo.models\nfrom ssl4eo_train.torchgeo import exported\n\n"
        f'weights = exported("{name}")  # This folder.\n'
        f"model = torchgeo.models.{known}(weights=weights{size})\n```"
    )


CARD_TEXT = """---
library_name: timm
pipeline_tag: image-feature-extraction
tags:
- earth-observation
- {method}
---
# {name}

{arch}, trained without labels by {method} for {step} steps on images of {size} x {size} pixels. It
takes {channels} channels and gives features; it has no classifier.

## Input

Channels in this order, and what is made of them (reflectance is the digital number less the
product's offset, over 10000):

- {words}

`mean` and `std` in `config.json` are these offsets and the inverse of these factors. They do not
clip, which the training did.

## Use

```python
import timm

model = timm.create_model("hf-hub:USER/{name}", pretrained=True)  # Or "local-dir:{name}".
features = model.eval()(images)  # [N, {channels}, {size}, {size}], float32, as above
```

{torchgeo}

## Training

```json
{run}
```
"""
