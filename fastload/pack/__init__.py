"""Packing any dataset into shards that load fast: ``python -m fastload pack``."""

from fastload.pack.options import Options
from fastload.pack.run import Packing, pack

__all__ = ["Options", "Packing", "pack"]
