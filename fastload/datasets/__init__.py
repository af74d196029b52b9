"""Layouts on disk, one file each; each gives sources, which a `Dataset` joins by key."""

from fastload.datasets.known import LAYOUTS
from fastload.datasets.source import Columns, Modality, Source

__all__ = ["LAYOUTS", "Columns", "Modality", "Source"]
