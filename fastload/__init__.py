"""The data loader for Earth-observation pre-training.

A `Dataset` says what is on disk, a `Recipe` what a method wants to see, and `DataLoader` brings the
one to the other, in an order that depends on nothing but the seed.
"""

from fastload.datasets.base import Dataset
from fastload.datasets.joined import concat, mix
from fastload.datasets.opening import open
from fastload.datasets.ssl4eo_s12 import SSL4EOS12
from fastload.loader import DataLoader
from fastload.recipe import Radiometry, Recipe
from fastload.statistics import Statistics
from fastload.storage.errors import DataError
from fastload.storage.remote.store import Remote
from fastload_kernels import View

__version__ = "0.1.0"
__all__ = [
    "SSL4EOS12",
    "DataError",
    "DataLoader",
    "Dataset",
    "Radiometry",
    "Recipe",
    "Remote",
    "Statistics",
    "View",
    "concat",
    "mix",
    "open",
]
