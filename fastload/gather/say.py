"""Telling a user what is done otherwise than he might think."""

import warnings
from collections.abc import Callable

Say = Callable[[str], None]


def warn(sentence: str) -> None:
    """Say it as a warning, where there is no command line to say it on."""
    warnings.warn(sentence, stacklevel=3)
