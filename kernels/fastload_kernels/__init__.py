"""Views of multi-band time series: radiometry, geometry and augmentation in one pass.

This package knows arrays, not files. `reference` is the definition in NumPy float64, `cpu` the same
in Numba, `cuda` in CUDA; all obey the parameters that `draw` makes.
"""

from fastload_kernels.view import VIEW_PARAMS, Scaling, View, draw, draw_bands

__all__ = ["VIEW_PARAMS", "Scaling", "View", "draw", "draw_bands"]
