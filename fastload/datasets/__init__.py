"""Layouts on disk, one file each; each gives sources, which a `Dataset` joins by key."""

LAYOUTS = {
    "ssl4eo_s12": "fastload.datasets.ssl4eo_s12:SSL4EOS12",
}
"""By name, as ``module:class``."""
