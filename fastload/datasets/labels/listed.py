"""Lists of samples that come with a data set, such as those of its splits."""

import csv
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.storage.errors import DataError
from fastload.storage.store import Store


def names_in(store: Store, file: str, split: str) -> list[list[str]]:
    """The lines of a list, each as its cells.

    Args:
        store: holds the file.
        file: of text, a name a line; of csv; or of JSON, lists by split.
        split: whose list is wanted of a JSON file.

    Raises:
        DataError: names the file and what was expected.
    """
    path = store.path(file)
    try:
        text = store.content(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(path, "", -1, f"is no text in UTF-8 ({error})") from error
    rows = _of_json(text, path, split) if file.endswith(".json") else _of_lines(text)
    if not rows:
        raise DataError(path, "", -1, "lists no sample")
    return rows


def has_list(store: Store, files: Sequence[str], split: str) -> bool:
    """Whether the first file there is of `files` has a list of a split.

    Args:
        store: holds them.
        files: names, ``{split}`` standing for the split; a JSON file has several lists.
        split: whose list is looked for.

    Raises:
        DataError: where it is a JSON file that cannot be read.
    """
    there = set(store.filenames("", 1000))
    found = next((name for file in files if (name := file.format(split=split)) in there), None)
    if found is None or not found.endswith(".json"):
        return found is not None
    lists = _json(store.content(found).decode("utf-8-sig", "replace"), store.path(found))
    return isinstance(lists, dict) and split in lists


def _of_lines(text: str) -> list[list[str]]:
    rows = ([cell.strip() for cell in row] for row in csv.reader(text.splitlines()))
    return [row for row in rows if row and row[0]]


def _json(text: str, path: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(path, "", -1, f"is no JSON ({error})") from error


def _of_json(text: str, path: str, split: str) -> list[list[str]]:
    found = _json(text, path)
    if not isinstance(found, dict) or not isinstance(found.get(split), list):
        there = list(found) if isinstance(found, dict) else type(found).__name__
        raise DataError(path, "", -1, f"expected a list of names under {split!r}, got {there}")
    wrong = next((name for name in found[split] if not isinstance(name, str)), None)
    if wrong is not None:
        raise DataError(path, "", -1, f"expected names under {split!r}, got {wrong!r}")
    return [[name] for name in found[split]]


def rows_of(
    keys: NDArray[np.bytes_], wanted: Sequence[str], path: str, missing: str
) -> NDArray[np.int64]:
    """Rows of the samples that a list names, in the order of `keys`.

    Args:
        keys: bytes ``[N]``, each once.
        wanted: the list.
        path: of it, for errors.
        missing: "error", or "drop" for names that are not there.

    Raises:
        ValueError: counts names that are not there; also where none is.
    """
    names = {name.encode() for name in wanted}
    known = set(keys.tolist())
    lacking = sorted(names - known)
    if lacking and (missing == "error" or len(lacking) == len(names)):
        some = ", ".join(name.decode() for name in lacking[:3])
        raise ValueError(
            f"{path}: {len(lacking)} of {len(names)} names are not there, such as {some} "
            "(missing='drop' leaves them out)"
        )
    if lacking:
        print(f"{path}: {len(lacking)} of {len(names)} names are not there and left out")
    return np.array([i for i, key in enumerate(keys.tolist()) if key in names], np.int64)
