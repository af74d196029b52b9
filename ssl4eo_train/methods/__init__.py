"""The training methods by name. Each is one file: a loss, a recipe and a schedule."""

from ssl4eo_train.methods import moco_v2
from ssl4eo_train.methods.method import Method, Published, Settings

__all__ = ["METHODS", "Method", "Published", "Settings"]

METHODS: dict[str, Method] = {"moco_v2": moco_v2}
