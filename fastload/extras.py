"""What to install where an optional library is missing."""

DISTRIBUTION = "fastload-eo"
"""On the package index, where `fastload` is somebody else's."""


def missing(what: str, extra: str, instead: str = "") -> ImportError:
    """An error that names the extra to install.

    Args:
        what: what was asked for and what it needs, as in ``engine='dali' needs NVIDIA DALI``.
        extra: the extra that brings it.
        instead: what to do without it, as in ``choose engine='threads'``.
    """
    return ImportError(
        f"{what}: pip install '{DISTRIBUTION}[{extra}]'" + (f", or {instead}" if instead else "")
    )
