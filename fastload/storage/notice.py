"""What is said once."""

import warnings

_said: set[tuple[str, str]] = set()


def once(kind: str, of: str, sentence: str) -> None:
    """Warn, unless this process has already said something of this kind of the same thing."""
    if (kind, of) not in _said:
        _said.add((kind, of))
        warnings.warn(sentence, stacklevel=3)
