"""Sizes of the runs, the same for the originals and for ours. Runs under Python 3.8 too."""

STEPS = 4
BATCH = 8
FEW = 4
"""Samples of a step: of transformers, and of ResNets, which take longest."""
SIDE, SMALL = 64, 32
"""Of views and of DINO's small ones, in pixels; patches have 16."""
WIDTH, DEPTH, HEADS, RATIO = 64, 3, 2, 4.0
"""Of the transformers, as timm's ``test_vit`` but for depth and the ratio of the hidden layers."""
LAYERS = [1, 1, 1, 1]
"""Blocks of MoCo-v2's ResNet, of bottlenecks, and of DINO's, of basic blocks; SeCo's is whole."""
QUEUE = 12
"""Keys that are remembered: three steps', so that the fourth replaces the first's."""

MOCO_V2 = {"bands": 13, "per_epoch": 2, "epochs": 5, "lr": 0.03}
MOCO_V3 = {"bands": 5, "per_epoch": 2, "epochs": 10, "warmup": 1, "lr": 1.5e-4}
MOCO_V3_HEAD = {"width": 16, "hidden": 32}
# Learning rates that are scaled by batch / 256, so that they come to the published ones.
DINO_RESNET = {"bands": 2, "per_epoch": 2, "epochs": 5, "lr": 0.03 * 256 / FEW, "small": 3}
DINO_VIT = {"bands": 3, "per_epoch": 2, "epochs": 5, "lr": 1.5e-4 * 256 / BATCH, "small": 4}
DINO_HEAD = {"outputs": 32, "hidden": 48, "bottleneck": 16}
MAE = {"bands": 4, "per_epoch": 2, "epochs": 10, "warmup": 1, "lr": 1.5e-4 * 256 / BATCH}
MAE_DECODER = {"width": 32, "depth": 2, "heads": 4}
DATA2VEC = {"bands": 13, "per_epoch": 2, "epochs": 5, "lr": 1e-3, "hidden": 10, "blocks": 2}
SECO = {"bands": 3, "per_epoch": 1, "epochs": 5, "lr": 0.03}

CASES = (
    "moco_v2", "moco_v3", "dino_resnet", "dino_vit", "dino_vit_local", "mae", "data2vec", "seco",
    "seco_moco",
)  # fmt: skip

CLIP = 1.0
"""Of gradients, in DINO of each one and in data2vec of all: low enough to change some here."""

STEPS_PER_EPOCH, EPOCHS, SECO_EPOCHS = 976, 100, 200
"""Of the published runs: 62,500 locations in 4 processes of 64; SeCo's epochs."""
POINTS = (0, 1, 2, 975, 976, 977, 4879, 9758, 9759, 9760, 9761, *range(12000, 97000, 3719),
          97599)  # fmt: skip
"""Steps at which schedules are compared: where they bend, and between."""
SCHEDULED = ("moco_v2", "moco_v3", "dino", "mae", "data2vec", "seco")
DRAWN = ("moco_v2", "moco_v3", "dino_resnet", "dino_vit", "mae", "data2vec", "seco")
