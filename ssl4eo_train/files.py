"""Small files, replaced as a whole."""

import os
from pathlib import Path


def replaced(path: Path, text: str) -> None:
    """Write a text file; on a full disk the old one stays.

    Raises:
        OSError: where it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
