"""The user's cache folder."""

import os
from pathlib import Path


def folder() -> Path:
    """`$FASTLOAD_CACHE`, else `$XDG_CACHE_HOME/fastload`, else `~/.cache/fastload`. Not created."""
    if "FASTLOAD_CACHE" in os.environ:
        return Path(os.environ["FASTLOAD_CACHE"])
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fastload"
