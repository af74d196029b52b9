"""Named arrays in a file that a process trusts only of its own user and the data's owner."""

import os
import secrets
import zipfile
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Arrays = Mapping[str, NDArray[Any]]


def write(path: Path, arrays: Arrays) -> None:
    """Write atomically.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    temporary = path.with_suffix(f".{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # never what is there, nor through a link
            np.savez(file, **dict(arrays))  # type: ignore[arg-type]
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path, trusted: Collection[int] | None, made: Callable[[Arrays], T]) -> T:
    """What `made` makes of the arrays of such a file.

    Args:
        path: of it.
        trusted: users whose file is believed, by number; None: anybody's.
        made: takes the arrays by name.

    Raises:
        ValueError: where it is another user's or makes no sense, or of `made`.
    """
    with path.open("rb") as file:
        owner = os.fstat(file.fileno()).st_uid
        if trusted is not None and owner not in trusted:
            raise ValueError(f"it is of user {owner}, who owns neither this process nor the data")
        try:
            with np.load(file, allow_pickle=False) as found:
                return made(found)
        except (LookupError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"it makes no sense ({error})") from error
