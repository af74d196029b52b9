"""What the runs of all originals share. Runs under Python 3.8, beside the originals' libraries."""

from __future__ import annotations

import contextlib
import hashlib
import io
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tests.originals import rule
from tests.originals.cases import DEPTH, HEADS, RATIO, SIDE, STEPS, WIDTH
from tests.originals.trace import Trace

VIT = {
    "patch_size": 16, "embed_dim": WIDTH, "depth": DEPTH, "num_heads": HEADS, "mlp_ratio": RATIO
}  # fmt: skip


def on_the_cpu() -> None:
    """What the originals send to a GPU stays; they find a group of one process."""
    for kind in (Tensor, nn.Module):
        kind.cuda = lambda self, *args, **more: self
    torch.cuda.synchronize = lambda *args: None
    tensor = torch.tensor
    torch.tensor = lambda *args, device=None, **more: tensor(*args, **more)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    place = tempfile.mkdtemp()
    torch.distributed.init_process_group(
        "gloo", init_method="file://" + place + "/gloo", rank=0, world_size=1
    )


def in_float64() -> None:
    """What the originals make float32 becomes float64."""
    Tensor.float = Tensor.double


def floats(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, but for counters and indices."""
    return {n: x for n, x in module.state_dict().items() if x.is_floating_point()}


@torch.no_grad()
def fill(module: nn.Module, prefix: str = "") -> None:
    """Give every parameter the weights of the rule, but for fixed positions."""
    for name, parameter in module.named_parameters():
        if parameter.requires_grad or "pos_embed" not in name:
            drawn = rule.weight(prefix + name, tuple(parameter.shape))
            parameter.copy_(torch.from_numpy(drawn))


def views(step: int, batch: int, bands: int, sides: Sequence[int]) -> list[Tensor]:
    """The views of a step, one for each side."""
    shapes = [(batch, bands, side, side) for side in sides]
    return [torch.from_numpy(rule.images(step, i, shape)) for i, shape in enumerate(shapes)]


def two_views(batch: int, bands: int) -> Callable[[int], list[Tensor]]:
    """How to draw a step of two large views."""
    return lambda step: views(step, batch, bands, (SIDE, SIDE))


class Loader:
    """One epoch's batches for a training loop, which is watched as it asks for the next.

    Args:
        epoch, per_epoch: which steps these are.
        batch: the batch of a step.
        after: called with the step when it is done.
    """

    def __init__(
        self,
        epoch: int,
        per_epoch: int,
        batch: Callable[[int], Any],
        after: Callable[[int], None],
    ) -> None:
        self.steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        self.batch, self.after = batch, after

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Any]:
        for step in self.steps:
            yield self.batch(step)
            self.after(step)


def epochs(per_epoch: int) -> range:
    """The epochs that make the steps of a run."""
    return range(STEPS // per_epoch)


def keep_first_gradients(
    optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor], trace: Trace
) -> None:
    """Keep the gradients as the optimizer sees them in its first step."""
    original = optimizer.step

    def step(*args: Any, **more: Any) -> Any:
        if "gradient" not in trace.tensors:
            trace.state("gradient", {n: p.grad for n, p in named.items() if p.grad is not None})
        return original(*args, **more)

    optimizer.step = step


def keep_rates(optimizer: torch.optim.Optimizer, trace: Trace) -> None:
    """Keep learning rate and weight decay as they were in the last step."""
    trace.number("rate", optimizer.param_groups[0]["lr"])
    trace.number("decay", max(group["weight_decay"] for group in optimizer.param_groups))


def groups(optimizer: torch.optim.Optimizer, named: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Names of the trained tensors, by whether they decay."""
    names = {id(p): n for n, p in named.items() if p.requires_grad}
    found: dict[str, list[str]] = {"decay": [], "none": []}
    for group in optimizer.param_groups:
        kind = "decay" if group["weight_decay"] > 0 else "none"
        found[kind] += [names[id(p)] for p in group["params"] if id(p) in names]
    return {kind: sorted(names) for kind, names in found.items()}


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their names with a prefix."""
    return {prefix + name: tensor for name, tensor in tensors.items()}


def sources(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of the originals that were imported, by path in the folder."""
    found = {}
    for module in list(sys.modules.values()):
        path = getattr(module, "__file__", None)
        if path and folder in Path(path).parents:
            digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[str(Path(path).relative_to(folder))] = digest
    return dict(sorted(found.items()))


def silent() -> Any:
    """Within this context the originals print nothing."""
    return contextlib.redirect_stdout(io.StringIO())
