"""Of the originals at their true sizes: schedules of a whole run, and how weights are drawn.

Runs under Python 3.8, beside the originals' libraries; see `README.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.originals.cases import EPOCHS, POINTS, SECO_EPOCHS, STEPS_PER_EPOCH


def columns(at: Callable[[int], dict[str, float]], points: Any) -> dict[str, list[float]]:
    """Numbers by name, at some points."""
    found: dict[str, list[float]] = {}
    for point in points:
        for name, number in at(point).items():
            found.setdefault(name, []).append(float(number))
    return found


def moco_v2_schedule() -> dict[str, list[float]]:
    """`adjust_learning_rate`, in whole epochs."""
    import pretrain_moco_v2_s2c as script

    args = script.parser.parse_args(f"--cos --lr 0.03 --epochs {EPOCHS}".split())

    def at(step: int) -> dict[str, float]:
        optimizer = SimpleNamespace(param_groups=[{}])
        script.adjust_learning_rate(optimizer, step // STEPS_PER_EPOCH, args)
        return {"rate": optimizer.param_groups[0]["lr"]}

    return columns(at, POINTS)


def moco_v3_schedule() -> dict[str, list[float]]:
    """`adjust_learning_rate` and `adjust_moco_momentum`, by step."""
    import pretrain_moco_v3_s2c as script

    words = f"--lr 1.5e-4 --epochs {EPOCHS} --warmup-epochs=10"
    args = script.parser.parse_args(words.split())

    def at(step: int) -> dict[str, float]:
        epoch = step // STEPS_PER_EPOCH + step % STEPS_PER_EPOCH / STEPS_PER_EPOCH
        rate = script.adjust_learning_rate(SimpleNamespace(param_groups=[]), epoch, args)
        return {"rate": rate, "momentum": script.adjust_moco_momentum(epoch, args)}

    return columns(at, POINTS)


def dino_schedule() -> dict[str, list[float]]:
    """`cosine_scheduler`, of ViT-S."""
    from models.dino.utils import cosine_scheduler

    schedule = partial(cosine_scheduler, epochs=EPOCHS, niter_per_ep=STEPS_PER_EPOCH)
    rates = schedule(1.5e-4, 1e-6, warmup_epochs=10)
    decays, momenta = schedule(0.04, 0.4), schedule(0.996, 1)
    return columns(
        lambda step: {"rate": rates[step], "decay": decays[step], "momentum": momenta[step]},
        POINTS,
    )


def mae_schedule() -> dict[str, list[float]]:
    """`adjust_learning_rate`, by step."""
    from models.mae.util.lr_sched import adjust_learning_rate

    args = SimpleNamespace(lr=1.5e-4, min_lr=0.0, epochs=EPOCHS, warmup_epochs=10)

    def at(step: int) -> dict[str, float]:
        epoch = step % STEPS_PER_EPOCH / STEPS_PER_EPOCH + step // STEPS_PER_EPOCH
        return {"rate": adjust_learning_rate(SimpleNamespace(param_groups=[]), epoch, args)}

    return columns(at, POINTS)


def data2vec_schedule() -> dict[str, list[float]]:
    """`cosine_scheduler`, with a warm-up of 10 epochs."""
    from models.data2vec.utils import cosine_scheduler

    rates = cosine_scheduler(1e-3, 1e-5, EPOCHS, STEPS_PER_EPOCH, warmup_epochs=10)
    return columns(lambda step: {"rate": rates[step]}, POINTS)


def seco_schedule() -> dict[str, list[float]]:
    """`MocoLRScheduler`, in each epoch."""
    from pl_bolts.models.self_supervised.moco.callbacks import MocoLRScheduler

    scheduler = MocoLRScheduler(0.03, schedule=(120, 160), max_epochs=SECO_EPOCHS)

    def at(epoch: int) -> dict[str, float]:
        optimizer = SimpleNamespace(param_groups=[{}])
        trainer = SimpleNamespace(current_epoch=epoch, optimizers=[optimizer])
        scheduler.on_epoch_start(trainer, None)
        return {"rate": optimizer.param_groups[0]["lr"]}

    return columns(at, range(SECO_EPOCHS))


def moco_v2_network() -> nn.Module:
    """`builder.MoCo` on torchvision's ResNet-50, as the script calls it."""
    import pretrain_moco_v2_s2c as script

    model = script.builder.MoCo(script.models.resnet50, 128, 64, 0.999, 0.2, True, bands="B13")
    return model.encoder_q


def moco_v3_network() -> nn.Module:
    """`MoCo_ViT` on `vit_small`, as the script calls it."""
    import pretrain_moco_v3_s2c as script

    vit = partial(script.vits.vit_small, stop_grad_conv1=True, in_chans=13)
    model = script.moco_builder.MoCo_ViT(vit, 256, 4096, 0.2)
    whole = model.base_encoder
    whole.predictor = model.predictor
    return whole


def dino_resnet_network() -> nn.Module:
    """The script's student on ResNet-50."""
    import pretrain_dino_s2c as script

    student = script.torchvision_models.resnet50()
    features = student.fc.weight.shape[1]
    student.conv1 = nn.Conv2d(13, 64, kernel_size=7, stride=2, padding=3, bias=False)
    return script.utils.MultiCropWrapper(student, script.DINOHead(features, 65536))


def dino_vit_network() -> nn.Module:
    """The script's student on `vit_small`."""
    import pretrain_dino_s2c as script

    student = script.vits.vit_small(patch_size=16, drop_path_rate=0.1, in_chans=13)
    head = script.DINOHead(student.embed_dim, 65536)
    return script.utils.MultiCropWrapper(student, head)


def mae_network() -> nn.Module:
    """`mae_vit_small_patch16`."""
    from models.mae import models_mae

    return models_mae.mae_vit_small_patch16(norm_pix_loss=True, in_chans=13)


def data2vec_network() -> nn.Module:
    """`beit_small_patch16_224`, with the script's arguments."""
    from models.data2vec import modeling_cyclical

    return modeling_cyclical.beit_small_patch16_224(
        drop_path_rate=0.25, use_shared_rel_pos_bias=True, use_abs_pos_emb=False,
        init_values=1e-4, attn_drop_rate=0.05,
    )  # fmt: skip


def seco_network() -> nn.Module:
    """`MocoV2` on ResNet-18, with three spaces."""
    from models.moco2_module import MocoV2

    model = MocoV2(base_encoder="resnet18", emb_dim=128, num_negatives=64, emb_spaces=3)
    whole = model.encoder_q
    whole.heads = model.heads_q
    return whole


SCHEDULES = {
    "moco_v2": moco_v2_schedule,
    "moco_v3": moco_v3_schedule,
    "dino": dino_schedule,
    "mae": mae_schedule,
    "data2vec": data2vec_schedule,
    "seco": seco_schedule,
}
NETWORKS = {
    "moco_v2": moco_v2_network,
    "moco_v3": moco_v3_network,
    "dino_resnet": dino_resnet_network,
    "dino_vit": dino_vit_network,
    "mae": mae_network,
    "data2vec": data2vec_network,
    "seco": seco_network,
}


def drawn(case: str) -> dict[str, list[float]]:
    """Statistics of every parameter as it was drawn: count, mean, standard deviation, maximum."""
    torch.manual_seed(0)
    named = NETWORKS[case]().named_parameters()
    return {name: statistics(parameter.detach()) for name, parameter in named}


def statistics(x: Tensor) -> list[float]:
    """Count, mean, standard deviation (of all, not of a sample) and largest magnitude."""
    count, x = x.numel(), x.double()
    # Normal draws in float32 that are cut at 2 land there once in ten million, however narrow.
    x = x[x.abs() < 2]
    numbers = (x.mean(), x.std(unbiased=False), x.abs().max())
    return [count, *(float(f"{number:.7g}") for number in numbers)]
