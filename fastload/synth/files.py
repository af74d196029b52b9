"""Files that appear whole or not at all."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def _temporary(path: Path) -> Path:
    # Two processes may make the same dataset at once: each writes its own file.
    return path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")


@contextmanager
def whole(paths: list[Path]) -> Iterator[list[Path]]:
    """Give temporary names to write to; rename them all at the end, or delete them on an error."""
    parts = [_temporary(p) for p in paths]
    try:
        yield parts
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file that is either the old one or the whole new one."""
    with whole([path]) as (part,):
        part.write_bytes(content)
