"""Print how far ours lie from the originals, as Markdown: ``python -m tests.originals``."""

from tests.originals import ours
from tests.originals.cases import CASES, STEPS
from tests.originals.compare import TOLERANCE, worst
from tests.originals.trace import read

WHAT = {
    "moco_v2": "`MoCo`, ResNet of bottlenecks, 13 bands; `train`, SGD, cosine",
    "moco_v3": "`MoCo_ViT`, 5 bands; `train`, AdamW, both schedules",
    "dino_resnet": "`MultiCropWrapper`, ResNet, 2 bands, 3 small views; `train_one_epoch`, SGD",
    "dino_vit": "`MultiCropWrapper`, ViT, 3 bands; `train_one_epoch`, AdamW",
    "dino_vit_local": "the same with 4 small views",
    "mae": "`MaskedAutoencoderViT`, 4 bands; `train_one_epoch`, `add_weight_decay`",
    "data2vec": "`VisionTransformerForCyclicalTraining`, 13 bands; `train_one_epoch`, `ModelEmaV2`",
    "seco": "`MocoV2`, ResNet-18, 3 spaces; `Trainer.fit`, `MocoLRScheduler`",
    "seco_moco": "the same in 1 space",
}
KINDS = ("loss", "gradient", "leader", "follower", "memory")


def main() -> None:
    """Run all cases and print a row for each."""
    print("| case | what ran | steps | loss | gradients | trained | follower | memory | bound |")
    print("|---|---|---|---|---|---|---|---|---|")
    for case in CASES:
        found = worst(ours.run(case), read(case))
        errors = [f"{found[kind]:.1e}" if kind in found else "" for kind in KINDS]
        cells = (case, WHAT[case], str(STEPS), *errors, f"{TOLERANCE[case]:.0e}")
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
