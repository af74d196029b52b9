"""The user's cache folder."""

import os
from pathlib import Path


def folder() -> Path:
    """`$FASTLOAD_CACHE`, else `$XDG_CACHE_HOME/fastload`, else `~/.cache/fastload`. Not created.

    Raises:
        OSError: where nothing says where the user's files lie.
    """
    if "FASTLOAD_CACHE" in os.environ:
        return Path(os.environ["FASTLOAD_CACHE"])
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        raise OSError(f"there is no cache folder ({error}); set FASTLOAD_CACHE to one") from error
    return Path(base) / "fastload"


def below(*parts: str) -> Path | None:
    """A place in the cache folder; None where there is no such folder."""
    try:
        return folder().joinpath(*parts)
    except OSError:
        return None
