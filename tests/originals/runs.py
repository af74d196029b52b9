"""One function a method: the original classes, in their own training loops.

Runs under Python 3.8, beside the originals' libraries; see `README.md`. What is imported inside
the functions are the originals' own modules.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from tests.originals import cases, rule
from tests.originals.cases import BATCH, FEW, QUEUE, SIDE, SMALL, STEPS
from tests.originals.running import (
    VIT,
    Loader,
    epochs,
    fill,
    floats,
    groups,
    keep_first_gradients,
    keep_rates,
    prefixed,
    two_views,
    views,
)
from tests.originals.trace import Trace

NORM = partial(nn.LayerNorm, eps=1e-6)


def moco_v2() -> tuple[Trace, dict[str, list[str]]]:
    """`builder.MoCo` on a ResNet of four bottlenecks; `train` and `adjust_learning_rate`."""
    import pretrain_moco_v2_s2c as script

    case, trace = cases.MOCO_V2, Trace()
    words = "--bands B13 --mlp --cos --moco-t 0.2 --rank 0 --moco-k %d --epochs %d --lr %r"
    args = script.parser.parse_args((words % (QUEUE, case["epochs"], case["lr"])).split())
    resnet = script.models.resnet
    model = script.builder.MoCo(
        partial(resnet.ResNet, resnet.Bottleneck, cases.LAYERS),
        args.moco_dim, args.moco_k, args.moco_m, args.moco_t, args.mlp, bands=args.bands,
    ).double()  # fmt: skip
    fill(model.encoder_q)
    fill(model.encoder_k)
    model.queue.copy_(torch.from_numpy(rule.queue("queue", tuple(model.queue.shape))))
    optimizer = torch.optim.SGD(
        model.parameters(), args.lr, momentum=args.momentum, weight_decay=args.weight_decay
    )
    named = dict(model.encoder_q.named_parameters())
    keep_first_gradients(optimizer, named, trace)
    criterion = nn.CrossEntropyLoss()
    criterion.register_forward_hook(lambda module, inputs, loss: trace.number("loss", loss))

    def after(step: int) -> None:
        keep_rates(optimizer, trace)
        trace.state("leader", floats(model.encoder_q))
        trace.state("follower", floats(model.encoder_k))
        trace.state("memory", {"queue": model.queue})
        trace.number("pointer", model.queue_ptr)

    for epoch in epochs(case["per_epoch"]):
        script.adjust_learning_rate(optimizer, epoch, args)
        loader = Loader(epoch, case["per_epoch"], two_views(FEW, case["bands"]), after)
        script.train(loader, model, criterion, optimizer, epoch, args)
    return trace, groups(optimizer, named)


def moco_v3() -> tuple[Trace, dict[str, list[str]]]:
    """`builder.MoCo_ViT` on `VisionTransformerMoCo`; `train` with both of its schedules."""
    import pretrain_moco_v3_s2c as script

    case, trace = cases.MOCO_V3, Trace()
    words = "--epochs %d --warmup-epochs=%d --lr %r --weight-decay=.1 --stop-grad-conv1"
    words += " --moco-m-cos --moco-t 0.2 --moco-dim %d --moco-mlp-dim %d --rank 0"
    head = cases.MOCO_V3_HEAD
    numbers = (case["epochs"], case["warmup"], case["lr"], head["width"], head["hidden"])
    args = script.parser.parse_args((words % numbers).split())
    vit = partial(
        script.vits.VisionTransformerMoCo, img_size=SIDE, qkv_bias=True, norm_layer=NORM,
        stop_grad_conv1=args.stop_grad_conv1, in_chans=case["bands"], **VIT,
    )  # fmt: skip
    model = script.moco_builder.MoCo_ViT(vit, args.moco_dim, args.moco_mlp_dim, args.moco_t)
    model = model.double()
    fill(model.base_encoder)
    fill(model.momentum_encoder)
    fill(model.predictor, "predictor.")
    optimizer = torch.optim.AdamW(model.parameters(), args.lr, weight_decay=args.weight_decay)
    named = {
        **dict(model.base_encoder.named_parameters()),
        **prefixed("predictor.", dict(model.predictor.named_parameters())),
    }
    keep_first_gradients(optimizer, named, trace)
    model.register_forward_hook(lambda module, inputs, loss: trace.number("loss", loss))

    def after(step: int) -> None:
        keep_rates(optimizer, trace)
        predictor = prefixed("predictor.", floats(model.predictor))
        trace.state("leader", {**floats(model.base_encoder), **predictor})
        trace.state("follower", floats(model.momentum_encoder))

    scaler = torch.cuda.amp.GradScaler(enabled=False)
    writer = SimpleNamespace(add_scalar=lambda *args: None)
    for epoch in epochs(case["per_epoch"]):
        loader = Loader(epoch, case["per_epoch"], two_views(BATCH, case["bands"]), after)
        script.train(loader, model, optimizer, scaler, writer, epoch, args)
    return trace, groups(optimizer, named)


def dino_resnet() -> tuple[Trace, dict[str, list[str]]]:
    """`MultiCropWrapper` on a ResNet of basic blocks; `DINOLoss` and `train_one_epoch`, SGD."""
    from torchvision.models.resnet import BasicBlock, ResNet

    case = cases.DINO_RESNET

    def backbone() -> nn.Module:
        made = ResNet(BasicBlock, cases.LAYERS)
        made.conv1 = nn.Conv2d(case["bands"], 64, kernel_size=7, stride=2, padding=3, bias=False)
        return made

    decay = "--weight_decay 1e-4 --weight_decay_end 1e-4 --optimizer sgd"
    return dino(case, FEW, backbone, 512, decay)


def dino_vit(small: int = 0) -> tuple[Trace, dict[str, list[str]]]:
    """`MultiCropWrapper` on `VisionTransformer`; `DINOLoss` and `train_one_epoch`, with AdamW."""
    import models.dino.vision_transformer as vits

    case = {**cases.DINO_VIT, "small": small}
    backbone = partial(
        vits.VisionTransformer, img_size=[SIDE], qkv_bias=True, norm_layer=NORM,
        in_chans=case["bands"], **VIT,
    )  # fmt: skip
    return dino(case, BATCH, backbone, VIT["embed_dim"], "--optimizer adamw")


def dino(
    case: dict[str, Any], batch: int, backbone: Any, features: int, words: str
) -> tuple[Trace, dict[str, list[str]]]:
    """See the two above. No warm-up and no drop path."""
    import pretrain_dino_s2c as script

    trace, head = Trace(), cases.DINO_HEAD
    words += " --epochs %d --warmup_epochs 0 --lr %r --local_crops_number %d --drop_path_rate 0"
    words += " --clip_grad %r"
    words = words % (case["epochs"], case["lr"], case["small"], cases.CLIP)
    args = script.get_args_parser().parse_args(words.split())
    wrap, outputs = script.utils.MultiCropWrapper, head["outputs"]
    sizes = {"hidden_dim": head["hidden"], "bottleneck_dim": head["bottleneck"]}
    student, teacher = (
        wrap(backbone(), script.DINOHead(features, outputs, **sizes)).double() for _ in range(2)
    )
    fill(student)
    teacher.load_state_dict(student.state_dict())
    for parameter in teacher.parameters():
        parameter.requires_grad = False
    loss = script.DINOLoss(
        outputs, case["small"] + 2, args.warmup_teacher_temp, args.teacher_temp,
        args.warmup_teacher_temp_epochs, args.epochs,
    ).double()  # fmt: skip
    found = script.utils.get_params_groups(student)
    if args.optimizer == "adamw":
        optimizer = torch.optim.AdamW(found)
    else:
        optimizer = torch.optim.SGD(found, lr=0, momentum=0.9)
    per_epoch = case["per_epoch"]
    schedule = partial(script.utils.cosine_scheduler, epochs=args.epochs, niter_per_ep=per_epoch)
    rates = schedule(args.lr * batch / 256.0, args.min_lr, warmup_epochs=args.warmup_epochs)
    decays = schedule(args.weight_decay, args.weight_decay_end)
    momenta = schedule(args.momentum_teacher, 1)
    named = dict(student.named_parameters())
    keep_first_gradients(optimizer, named, trace)
    loss.register_forward_hook(lambda module, inputs, loss: trace.number("loss", loss))

    def after(step: int) -> None:
        keep_rates(optimizer, trace)
        trace.state("leader", floats(student))
        trace.state("follower", floats(teacher))
        trace.state("memory", {"centre": loss.center})

    ddp = nn.parallel.DistributedDataParallel(student)
    sides = (SIDE, SIDE) + (SMALL,) * case["small"]

    def draw(step: int) -> list[Tensor]:
        return views(step, batch, case["bands"], sides)

    for epoch in epochs(per_epoch):
        loader = Loader(epoch, per_epoch, draw, after)
        script.train_one_epoch(
            ddp, teacher, teacher, loss, loader, optimizer, rates, decays, momenta, epoch, None,
            args,
        )  # fmt: skip
    optimizer.param_groups[0]["weight_decay"] = args.weight_decay
    return trace, groups(optimizer, named)


def mae() -> tuple[Trace, dict[str, list[str]]]:
    """`MaskedAutoencoderViT`, timm's `add_weight_decay`; `train_one_epoch`."""
    from models.mae import engine_pretrain, models_mae
    from models.mae.util import misc
    from timm.optim import optim_factory

    case, trace, decoder = cases.MAE, Trace(), cases.MAE_DECODER
    model = models_mae.MaskedAutoencoderViT(
        img_size=SIDE, in_chans=case["bands"], norm_pix_loss=True, norm_layer=NORM,
        decoder_embed_dim=decoder["width"], decoder_depth=decoder["depth"],
        decoder_num_heads=decoder["heads"], **VIT,
    ).double()  # fmt: skip
    fill(model)
    args = SimpleNamespace(
        accum_iter=1, mask_ratio=0.7, lr=case["lr"] * BATCH / 256, min_lr=0.0,
        epochs=case["epochs"], warmup_epochs=case["warmup"],
    )  # fmt: skip
    found = optim_factory.add_weight_decay(model, 0.05)
    optimizer = torch.optim.AdamW(found, lr=args.lr, betas=(0.9, 0.95))
    named = dict(model.named_parameters())
    keep_first_gradients(optimizer, named, trace)
    model.register_forward_hook(lambda module, inputs, outputs: trace.number("loss", outputs[0]))

    def batch(step: int) -> Tensor:
        torch.rand = lambda *shape, **more: torch.from_numpy(rule.noise(step, shape))
        return views(step, BATCH, case["bands"], (SIDE,))[0]

    def after(step: int) -> None:
        keep_rates(optimizer, trace)
        trace.state("leader", floats(model))

    drawn = torch.rand
    scaler = misc.NativeScalerWithGradNormCount()
    for epoch in epochs(case["per_epoch"]):
        loader = Loader(epoch, case["per_epoch"], batch, after)
        engine_pretrain.train_one_epoch(
            model, loader, optimizer, torch.device("cpu"), epoch, scaler, args=args
        )
    torch.rand = drawn
    return trace, groups(optimizer, named)


def data2vec() -> tuple[Trace, dict[str, list[str]]]:
    """`VisionTransformerForCyclicalTraining`, `ModelEmaV2`; `train_one_epoch`.

    No warm-up, drop path or dropout.
    """
    from models.data2vec.engine_for_cyclical import train_one_epoch
    from models.data2vec.modeling_cyclical import VisionTransformerForCyclicalTraining
    from models.data2vec.optim_factory import create_optimizer
    from models.data2vec.utils import NativeScalerWithGradNormCount, cosine_scheduler
    from timm.utils import ModelEmaV2

    case, trace = cases.DATA2VEC, Trace()
    model = VisionTransformerForCyclicalTraining(
        img_size=SIDE, in_chans=case["bands"], qkv_bias=True, norm_layer=NORM, init_values=1e-4,
        use_shared_rel_pos_bias=True, use_abs_pos_emb=False, **VIT,
    ).double()  # fmt: skip
    fill(model)
    ema = ModelEmaV2(model, decay=0.9998)
    args = SimpleNamespace(
        opt="adamw", lr=case["lr"], weight_decay=0.05, opt_eps=1e-8, opt_betas=None
    )
    optimizer = create_optimizer(args, model)
    named = dict(model.named_parameters())
    keep_first_gradients(optimizer, named, trace)

    class Scaler(NativeScalerWithGradNormCount):
        def __call__(self, loss: Tensor, *args: Any, **more: Any) -> Any:
            trace.number("loss", loss)
            return super().__call__(loss, *args, **more)

        def state_dict(self) -> dict[str, float]:
            return {"scale": 1.0}  # A scaler that is off, as on the CPU, has none to log.

    def batch(step: int) -> tuple[Tensor, Tensor]:
        patches = SIDE // VIT["patch_size"]
        mask = rule.hidden(step, (BATCH, patches**2), case["hidden"])
        mask = mask.reshape(BATCH, patches, patches)
        return views(step, BATCH, case["bands"], (SIDE,))[0], torch.from_numpy(mask)

    def after(step: int) -> None:
        keep_rates(optimizer, trace)
        trace.state("leader", floats(model))
        trace.state("follower", floats(ema.module))

    per_epoch = case["per_epoch"]
    rates = cosine_scheduler(case["lr"], 1e-5, case["epochs"], per_epoch, warmup_epochs=0)
    layers = list(range(VIT["depth"]))[-case["blocks"] :]
    for epoch in epochs(per_epoch):
        train_one_epoch(
            model, ema, 0, 0.999, 0.9998, layers, Loader(epoch, per_epoch, batch, after),
            optimizer, torch.device("cpu"), epoch, Scaler(), cases.CLIP, l1_beta=2.0,
            start_steps=epoch * per_epoch, lr_schedule_values=rates, post_target_layer_norm=True,
        )  # fmt: skip
    return trace, groups(optimizer, named)


def seco(mode: str = "seco") -> tuple[Trace, dict[str, list[str]]]:
    """`MocoV2` on a ResNet-18 with `MocoLRScheduler`, by Lightning's `Trainer`."""
    from models.moco2_module import MocoV2
    from pl_bolts.models.self_supervised.moco.callbacks import MocoLRScheduler
    from pytorch_lightning import Callback, Trainer

    case, trace, spaces = cases.SECO, Trace(), {"seco": 3, "moco": 1}[mode]
    model = MocoV2(
        base_encoder="resnet18", emb_dim=128, num_negatives=QUEUE, emb_spaces=spaces,
        encoder_momentum=0.999, softmax_temperature=0.07, learning_rate=case["lr"], momentum=0.9,
        weight_decay=1e-4,
    ).double()  # fmt: skip
    parts = (("encoder_", ""), ("heads_", "heads."))
    for prefix, shown in parts:
        fill(getattr(model, prefix + "q"), shown)
        fill(getattr(model, prefix + "k"), shown)
    model.queue.copy_(torch.from_numpy(rule.queue("queue", tuple(model.queue.shape))))

    def whole(which: str, tensors: Any) -> dict[str, Tensor]:
        both = (prefixed(shown, tensors(getattr(model, name + which))) for name, shown in parts)
        return {name: tensor for part in both for name, tensor in part.items()}

    class Watch(Callback):
        def on_after_backward(self, *args: Any) -> None:
            if "gradient" not in trace.tensors:
                trace.state("gradient", {n: p.grad for n, p in named.items()})

        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            keep_rates(trainer.optimizers[0], trace)
            trace.state("leader", whole("q", floats))
            trace.state("follower", whole("k", floats))
            trace.state("memory", {"queue": model.queue})
            trace.number("pointer", model.queue_ptr[0])

    original, optimizers = model.training_step, []

    def training_step(batch: Any, number: int) -> Tensor:
        loss = original(batch, number)
        trace.number("loss", loss)
        return loss

    def configure_optimizers() -> torch.optim.Optimizer:
        optimizer = MocoV2.configure_optimizers(model)
        optimizers.append(optimizer)
        return optimizer

    def batch(step: int) -> Any:
        query, *keys = views(step, FEW, case["bands"], (SIDE,) * (1 + spaces))
        return query, keys if spaces > 1 else keys[0]

    named = whole("q", lambda module: dict(module.named_parameters()))
    model.training_step, model.configure_optimizers = training_step, configure_optimizers
    milestones = [round(case["epochs"] * share) for share in (0.6, 0.8)]
    scheduler = MocoLRScheduler(case["lr"], schedule=milestones, max_epochs=case["epochs"])
    trainer = Trainer(
        max_epochs=STEPS, logger=False, checkpoint_callback=False, weights_summary=None,
        progress_bar_refresh_rate=0, callbacks=[scheduler, Watch()],
    )  # fmt: skip
    trainer.fit(model, Epochs(batch))
    return trace, groups(optimizers[0], named)


class Epochs(torch.utils.data.DataLoader):
    """A loader of one batch an epoch, each time the next step's."""

    def __init__(self, batch: Any) -> None:
        super().__init__([0], batch_size=None)
        self.step, self.draw = 0, batch

    def __iter__(self) -> Any:
        yield self.draw(self.step)
        self.step += 1


RUNS = {
    "moco_v2": moco_v2,
    "moco_v3": moco_v3,
    "dino_resnet": dino_resnet,
    "dino_vit": dino_vit,
    "dino_vit_local": lambda: dino_vit(cases.DINO_VIT["small"]),
    "mae": mae,
    "data2vec": data2vec,
    "seco": seco,
    "seco_moco": lambda: seco("moco"),
}
