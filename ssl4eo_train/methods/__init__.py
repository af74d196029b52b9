"""The training methods by name. Each is one file: a loss, a recipe and a schedule."""

from ssl4eo_train.methods import data2vec, dino, mae, moco_v2, moco_v3, seco
from ssl4eo_train.methods.method import Learner, Method, Progress, Published, Samples, Settings

__all__ = ["METHODS", "Learner", "Method", "Progress", "Published", "Samples", "Settings"]

METHODS: dict[str, Method] = {
    "moco_v2": moco_v2,
    "moco_v3": moco_v3,
    "seco": seco,
    "dino": dino,
    "mae": mae,
    "data2vec": data2vec,
}
