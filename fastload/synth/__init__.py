"""A made dataset: an invented but plausible world, written in exactly the published layout.

For tests, benchmarks and first steps without 2.3 TB at hand. Nothing learned from it says anything
about the Earth.
"""

from fastload.synth.places import COVERS
from fastload.synth.scene import Scene, draw_scene
from fastload.synth.writer import synth

__all__ = ["COVERS", "Scene", "draw_scene", "synth"]
