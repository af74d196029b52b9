"""MoCo-v2 as SSL4EO-S12 trained it (Wang et al., arXiv:2211.07044, its published code).

Momentum contrast: a query must find its own key among a queue of older keys. He et al.,
arXiv:1911.05722 and 2003.04297; "FB" below is their code, facebookresearch/moco.
"""

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from fastload.recipe import Radiometry, Recipe
from kernels import View
from ssl4eo_train import backbones, distributed
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods.method import Published, Settings

# 100 epochs where FB has 200: the published scripts. They ran 4 processes of 64 samples.
PUBLISHED = Published(arch="resnet50", image_size=224, batch=256, epochs=100)
QUEUE = 65536
WIDTH = 128
TEMPERATURE = 0.2
MOMENTUM = 0.999
LEARNING_RATE = 0.03  # At 256 samples; the published code does not scale it with the batch.


def recipe(image_size: int = 224) -> Recipe:
    """Two views drawn alike, each at a season of its own. Deviations from FB are SSL4EO-S12's.

    Args:
        image_size: side of a view in pixels.
    """
    view = View(
        size=image_size,
        scale=(0.2, 1.0),
        # FB crops with torchvision: uniform in log(ratio). SSL4EO-S12 crops with cvtorchvision
        # 0.0.1: uniform in the ratio, then width and height swapped half of the time.
        ratio_law="uniform",
        timestamp="independent",
        # FB also jitters saturation and hue, which 13 bands do not have, and in a random order;
        # SSL4EO-S12 has brightness, then contrast about each band's mean.
        jitter=0.8,
        brightness=0.4,
        contrast=0.4,
        gray=0.2,
        blur=0.5,
        sigma=(0.1, 2.0),
        hflip=0.5,
    )
    # SSL4EO-S12 casts DN / 10000 * 255 to uint8 without a clip, so that 12000 DN wraps to grey 50,
    # and so do pixels that brightness and contrast push out of range. Its README says "clip to
    # [0, 1]"; that is what is done here, in float, without rounding to grey levels of 39.2 DN.
    # Like SSL4EO-S12 and unlike FB, no mean is subtracted afterwards.
    reflectance = Radiometry.reflectance()
    radiometry = {
        "S2L1C": reflectance,
        "S2L2A": reflectance,
        "S2RGB": Radiometry.quantile(0.0, 255.0),
        "S1GRD": Radiometry.two_sigma(),
    }
    return Recipe((view, view), radiometry)


class MoCo(nn.Module):
    """Query encoder, key encoder and the queue of keys.

    Args:
        encoder: images ``[N, C, h, w]`` to embeddings ``[N, D]``; the key encoder is its copy.
        width: D.
        queue: K, keys remembered.
        batch: G, samples of a step over all processes; divides K.
        temperature: divides the similarities.
        momentum: of the key encoder's moving average.
        seed: of the queue's first content and of the shuffles.

    Raises:
        SetupError: where `batch` does not divide `queue`, or `momentum` is not in [0, 1).
    """

    queue: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        *,
        queue: int,
        batch: int,
        width: int = WIDTH,
        temperature: float = TEMPERATURE,
        momentum: float = MOMENTUM,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if queue < batch or queue % batch:
            raise SetupError(
                f"--queue is {queue}, expected a multiple of the {batch} samples of a step "
                f"(batch size times processes), since a step replaces that many keys; "
                f"{max(1, round(queue / batch)) * batch} would do"
            )
        if not 0 <= momentum < 1:
            raise SetupError(f"--momentum is {momentum}, expected a number in [0, 1)")
        self.query = encoder
        self.key = copy.deepcopy(encoder).requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer(
            "queue", F.normalize(torch.randn(width, queue, generator=generator), dim=0)
        )
        self.temperature, self.momentum, self.seed, self.batch = temperature, momentum, seed, batch
        self.steps = 0  # A Python number, so that the pointer costs no CPU-GPU sync.

    @property
    def pointer(self) -> int:
        """Column of the queue that the next step writes first."""
        return self.steps * self.batch % self.queue.shape[1]

    def get_extra_state(self) -> dict[str, int]:
        """What `state_dict` holds besides tensors."""
        return {"steps": self.steps}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Undo `get_extra_state`."""
        self.steps = state["steps"]

    def forward(self, views: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Contrast view 0 (query) with view 1 (key), then remember the keys.

        Args:
            views: two tensors ``[N, C, h, w]``.

        Returns:
            The loss, and ``accuracy``: the share of queries nearest to their own key. Scalars.
        """
        # The order of the published code. The key encoder follows the query encoder as the last
        # step left it, and this step's keys enter the queue only after the logits.
        images_q, images_k = views
        q = F.normalize(self.query(images_q), dim=1)
        with torch.no_grad():
            self.follow()
            shuffled = distributed.shuffle(images_k, self.seed, self.steps)
            # Normalised in float32, since under autocast the encoder gives half precision.
            shuffled = F.normalize(self.key(shuffled).float(), dim=1)
            keys = distributed.unshuffle(shuffled, self.seed, self.steps)  # [G, D]
            k = distributed.mine(keys)  # [N, D]
        loss, metrics = contrast(q, k, self.queue.clone(), self.temperature)
        self.enqueue(keys)
        return loss, metrics

    @torch.no_grad()
    def follow(self) -> None:
        """Move the key encoder towards the query encoder: ``key = m key + (1 - m) query``.

        Parameters only: batch norm's running statistics are the key encoder's own, as in FB.
        """
        keys: list[Tensor] = list(self.key.parameters())
        queries: list[Tensor] = list(self.query.parameters())
        torch._foreach_mul_(keys, self.momentum)
        torch._foreach_add_(keys, queries, alpha=1 - self.momentum)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by ``[G, D]`` new ones, in the step's order."""
        if len(keys) != self.batch:
            raise ValueError(f"the queue takes {self.batch} keys a step, got {len(keys)}")
        self.queue[:, self.pointer : self.pointer + self.batch] = keys.T
        self.steps += 1


def contrast(
    q: Tensor, k: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """InfoNCE of He et al. (2020), equation 1, computed in float32 whatever autocast says.

    Args:
        q: queries ``[N, D]``, unit rows.
        k: their keys ``[N, D]``, unit rows.
        queue: negatives ``[D, K]``, unit columns.
        temperature: divides the similarities.

    Returns:
        The mean over N of ``-log softmax([q.k, q @ queue] / temperature)[0]``, and ``accuracy``,
        the share of queries whose greatest logit is their key's. Scalars.
    """
    with torch.autocast(q.device.type, enabled=False):
        q, k = q.float(), k.float()
        positive = torch.einsum("nd,nd->n", q, k)[:, None]
        negative = torch.einsum("nd,dk->nk", q, queue)
        logits = torch.cat([positive, negative], dim=1) / temperature  # [N, 1 + K]
        loss = F.cross_entropy(logits, logits.new_zeros(len(q), dtype=torch.long))
    return loss, {"accuracy": (logits.detach().argmax(dim=1) == 0).float().mean()}


def projector(features: int, width: int = WIDTH) -> nn.Module:
    """Two layers in place of the classifier, without batch norm, as FB."""
    return nn.Sequential(nn.Linear(features, features), nn.ReLU(), nn.Linear(features, width))


def build(settings: Settings) -> MoCo:
    """See `Method.build`."""
    backbone = backbones.build(settings.arch, settings.bands, settings.image_size)
    head = projector(backbones.width(backbone))
    encoder = nn.Sequential()
    encoder.add_module("backbone", backbone)
    encoder.add_module("projector", head)
    queue = QUEUE if settings.queue is None else settings.queue
    momentum = MOMENTUM if settings.momentum is None else settings.momentum
    return MoCo(encoder, queue=queue, batch=settings.batch, momentum=momentum, seed=settings.seed)


def optimizer(model: nn.Module, lr: float | None = None) -> Optimizer:
    """SGD; weight decay on all parameters, batch norm's and biases included, as FB."""
    lr = LEARNING_RATE if lr is None else lr
    trained = [p for p in model.parameters() if p.requires_grad]
    return SGD([{"params": trained, "base_lr": lr}], lr=lr, momentum=0.9, weight_decay=1e-4)


def schedule(optimizer: Optimizer, epoch: float, epochs: int) -> float:
    """Cosine in whole epochs, without warm-up, as FB with ``--cos``."""
    factor = 0.5 * (1 + math.cos(math.pi * math.floor(epoch) / epochs))
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
    return float(optimizer.param_groups[0]["lr"])


def after_step(model: nn.Module, epoch: float, epochs: int) -> None:
    """Nothing: the key encoder moves in `MoCo.forward`, between the two encoders."""
