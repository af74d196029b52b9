"""Self-supervised pre-training on SSL4EO-S12: one loop, and one file for each method.

Run it with ``python -m ssl4eo_train``; without ``--data`` it trains on made scenes.
"""

__all__: list[str] = []
