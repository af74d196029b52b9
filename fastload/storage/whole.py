"""Files that appear whole or not at all."""

import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

PART = ".part"
"""How the names end that files have before they are whole; they begin with a dot."""


@contextlib.contextmanager
def all_whole(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Names to write to beside the final ones, of this thread alone.

    Where the block ends well, what was written becomes the files, after it reached the disk:
    renaming must not overtake the content. Otherwise it is removed, and old files stay. A killed
    process leaves it behind.
    """
    own = f"{os.getpid()}.{threading.get_ident()}{PART}"
    parts = [path.with_name(f".{path.name}.{own}") for path in paths]
    try:
        yield parts
        for part in parts:
            with part.open("rb") as file:
                os.fsync(file.fileno())
        for part, path in zip(parts, paths, strict=True):
            os.replace(part, path)
    finally:
        for part in parts:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """`all_whole` for one file."""
    with all_whole([path]) as [part]:
        yield part


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; one that holds the same is left alone.

    Raises:
        OSError: where it cannot be written.
    """
    content = text.encode()
    if path.exists() and path.read_bytes() == content:
        return
    with whole(path) as part:
        part.write_bytes(content)
