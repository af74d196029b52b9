"""What of a long verification is done, a line a unit of work, so that an end at any moment loses
only what was under way."""

import contextlib
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fastload.datasets.source import Source
from fastload.storage.whole import write_whole

_VERSION = 1


def digest(sources: Mapping[str, Source], samples: Mapping[str, Any], block: int) -> str:
    """A short name for what is verified: files with their sizes, keys, and which samples."""
    found = hashlib.blake2b(f"{_VERSION} {block}".encode(), digest_size=12)
    for name, source in sources.items():
        shards = getattr(getattr(source, "index", None), "shards", ())
        found.update(repr((name, source.modality.shape, [tuple(s) for s in shards])).encode())
        found.update(getattr(getattr(source, "store", None), "place", "").encode())
        found.update(np.ascontiguousarray(source.columns.key).tobytes())
        found.update(np.ascontiguousarray(samples[name], "<i8").tobytes())
    return found.hexdigest()


class State:
    """A file of finished units; a torn last line, as a kill leaves it, is passed over.

    Args:
        path: of the file, whose folder is made; None keeps nothing. Where it cannot be written, a
            warning says so, and nothing is kept.
        digest: of what is verified; a file of something else is begun anew.
        fresh: begin anew in any case.
    """

    def __init__(self, path: Path | None, digest: str, fresh: bool = False) -> None:
        self.path, self.done = path, dict[str, Any]()
        self._file: TextIO | None = None
        if path is None:
            return
        kept = [] if fresh else _lines(path)
        if kept and kept[0] == {"digest": digest}:
            self.done = {line["unit"]: line["result"] for line in kept[1:]}
        try:
            self._begin(path, digest)
        except OSError as error:
            self._without(error)

    def _begin(self, path: Path, digest: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"unit": unit, "result": result} for unit, result in self.done.items()]
        # So that a torn line is gone, and nothing else at any moment.
        write_whole(path, "".join(map(_text, [{"digest": digest}, *lines])))
        self._file = path.open("a")

    def finished(self, unit: str, result: Any) -> None:
        """Keep a unit's result."""
        self.done[unit] = result
        if self._file is None:
            return
        try:
            self._file.write(_text({"unit": unit, "result": result}))
            self._file.flush()
        except OSError as error:
            self._without(error)

    def _without(self, error: OSError) -> None:
        self._file = None
        warnings.warn(
            f"{self.path}: what is done cannot be kept ({error}); an interrupted verification "
            "would begin anew",
            stacklevel=4,
        )

    def close(self, complete: bool) -> None:
        """End; of a verification that is complete nothing is kept, so that the next one looks
        again."""
        if self._file is not None:
            self._file.close()
        if complete and self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def _lines(path: Path) -> list[Any]:
    try:
        texts = path.read_text().split("\n")
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for text in texts:
        try:
            line = json.loads(text)
        except ValueError:
            break
        if not isinstance(line, dict) or {*line} not in ({"digest"}, {"unit", "result"}):
            break
        found.append(line)
    return found


def _text(line: Any) -> str:
    return json.dumps(line) + "\n"
