"""Layouts on disk, one file each; each gives sources, which a `Dataset` joins by key."""

from fastload.datasets.source import Columns, Modality, Source

__all__ = ["LAYOUTS", "Columns", "Modality", "Source"]

LAYOUTS = {
    "ssl4eo_s12": "fastload.datasets.ssl4eo_s12:SSL4EOS12",
}
"""By name, as ``module:class``."""
