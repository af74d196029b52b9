"""The kernels in CUDA C++: sources beside their launchers, compiled where they first run.

Whoever calls gives all memory, as addresses. Nothing here allocates or synchronises.
"""
