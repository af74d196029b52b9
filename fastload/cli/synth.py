"""``python -m fastload synth DIR``."""

from fastload.synth.command import add_arguments, run

HELP = "write a made dataset in the published layout"

__all__ = ["HELP", "add_arguments", "run"]
