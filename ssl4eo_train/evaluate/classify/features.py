"""Features of a frozen backbone, computed once, and kept on disk where that is asked for."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fastload.storage.whole import whole
from ssl4eo_train import __version__
from ssl4eo_train.evaluate.bench import Bench
from ssl4eo_train.evaluate.classify.pooling import Pooled
from ssl4eo_train.evaluate.task import Split
from ssl4eo_train.knn import frozen

_BY = "by"


def features(
    bench: Bench,
    split: Split,
    size: int,
    batch: int,
    *,
    pool: str = "backbone",
    resize: int = 0,
) -> tuple[Tensor, Tensor]:
    """Features of all samples of a split, in order, and their targets.

    Args:
        bench: the backbone and the task. With `Bench.cache` they are kept there, and read where
            they were kept for the same checkpoint, samples, bands and settings.
        split: which.
        size: side in pixels of what the backbone is shown.
        batch: images a forward pass.
        pool: see `pooling.Pool`; anything but ``auto``.
        resize: side in pixels that images are resampled to, whose middle is shown; 0 for `size`.

    Returns:
        float32 ``[N, F]``, and targets as `Bench.batches` gives them, on the device.
    """
    about = _about(bench, split, size, pool, resize)
    path = None if bench.cache is None else bench.cache / f"features-{_digest(about)}.safetensors"
    if path is not None and (kept := _read(path, about)) is not None:
        return kept["features"].to(bench.device), kept["targets"].to(bench.device)
    network = Pooled(bench.pretrained.network, pool).to(bench.device)  # type: ignore[arg-type]
    rows, targets = [], []
    with frozen(network):
        for (images,), target, _ in bench.shown(split, size, batch, resize):
            rows.append(network(images).float())
            targets.append(target)
    found = torch.cat(rows), torch.cat(targets)
    if path is not None:
        _write(path, dict(zip(("features", "targets"), found, strict=True)), about)
    return found


def _about(bench: Bench, split: Split, size: int, pool: str, resize: int) -> dict[str, str]:
    """All that features depend on."""
    p, recipe = bench.pretrained, bench.recipe((bench.whole(size),))
    scalings = {n: repr(recipe.radiometry_of(n)) for n in bench.inputs.bands}
    return {
        "version": __version__,
        "checkpoint": p.digest or p.source,
        "call": json.dumps(p.call, sort_keys=True),
        "origin": bench.origin,
        "split": split,
        "samples": f"{len(bench.splits[split])} {bench.splits[split].fingerprint}",
        "bands": json.dumps([list(bench.inputs.bands.items()), bench.inputs.places]),
        "radiometry": json.dumps(scalings, sort_keys=True),
        "size": f"{size} of {resize or size}",
        "pool": pool,
    }


def _digest(about: Mapping[str, str]) -> str:
    text = json.dumps(about, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _read(path: Path, about: Mapping[str, str]) -> dict[str, Tensor] | None:
    """What a file holds; None where there is none, or it is of something else, or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            if json.loads((file.metadata() or {}).get(_BY, "{}")) != about:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        print(f"{path} cannot be read ({error}), so that its features are made again", flush=True)
        return None


def _write(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Keep features; where that is not possible, say so and go on."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    contents = {name: x.contiguous().cpu() for name, x in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as part:
            save_file(contents, part, {_BY: json.dumps(dict(about))})
    except (SafetensorError, OSError) as error:
        print(f"features cannot be kept in {path.parent} ({error})", flush=True)
