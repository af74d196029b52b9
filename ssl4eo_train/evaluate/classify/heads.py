"""Heads of classifiers, and how their weights start, each with those who have it."""

from collections.abc import Callable

from torch import nn

HEADS = ("linear", "bn_linear", "norm_linear", "dropout_linear")
"""``linear``: MoCo-v2 and v3, DINO. ``bn_linear``: a batch norm without weights before, MAE (He et
al., arXiv:2111.06377, A.1; main_linprobe.py, eps 1e-6). ``norm_linear``: the weights of a layer
norm before, data2vec when it is fine-tuned (`fc_norm` of modeling_finetune.py). ``dropout_linear``:
SeCo on BigEarthNet (pl_bolts 0.3.0, SSLEvaluator, p 0.2)."""


def make(head: str, start: str, width: int, classes: int) -> nn.Module:
    """A head: features ``[N, width]`` to scores ``[N, classes]``; see `HEADS` and `STARTS`."""
    linear = nn.Linear(width, classes)
    _STARTS[start](linear)
    before: dict[str, Callable[[], nn.Module]] = {
        "bn_linear": lambda: nn.BatchNorm1d(width, affine=False, eps=1e-6),
        # Pooling has normed already; once more changes nothing but by eps, so that only the
        # weights are new.
        "norm_linear": lambda: nn.LayerNorm(width, eps=1e-6),
        "dropout_linear": lambda: nn.Dropout(0.2),
    }
    return nn.Sequential(before[head](), linear) if head in before else linear


def _normal(linear: nn.Linear) -> None:
    """MoCo-v2 and v3 (main_lincls.py), DINO (eval_linear.py)."""
    nn.init.normal_(linear.weight, 0.0, 0.01)
    nn.init.zeros_(linear.bias)


def _truncated(linear: nn.Linear) -> None:
    """MAE (main_linprobe.py)."""
    nn.init.trunc_normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)


def _xavier(linear: nn.Linear) -> None:
    """MoCo-v3 where it is fine-tuned on BigEarthNet (vits.py of SSL4EO-S12; not drawn anew)."""
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)


def _tiny(linear: nn.Linear) -> None:
    """data2vec (modeling_finetune.py, --init_scale 0.001)."""
    nn.init.trunc_normal_(linear.weight, std=0.02)
    linear.weight.data.mul_(0.001)
    nn.init.zeros_(linear.bias)


_STARTS: dict[str, Callable[[nn.Linear], None]] = {
    "normal": _normal,
    "truncated": _truncated,
    "xavier": _xavier,
    "tiny": _tiny,
    "torch": lambda _: None,
}
STARTS = tuple(_STARTS)
"""How weights start; ``torch`` leaves them as torch draws them. Other biases are 0."""
