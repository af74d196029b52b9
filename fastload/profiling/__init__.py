"""What limits a loader: a run beside what its parts could do alone, and the setting to change."""

from fastload.profiling.measure import Measured, measure
from fastload.profiling.rule import Advice, Situation, advise

__all__ = ["Advice", "Measured", "Situation", "advise", "measure"]
