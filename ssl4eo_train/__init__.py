"""Self-supervised pre-training on SSL4EO-S12: one loop, and one file for each method.

Run it with ``ssl4eo-train`` or ``python -m ssl4eo_train``; without ``--data`` it trains on made
scenes. It needs the extra `train`.
"""

from fastload import __version__

__all__ = ["__version__"]
