"""What is done about a sample that cannot be had: an error that is counted, or another sample."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastload.datasets.base import Dataset
from fastload.engines import Options
from fastload.engines.batch import Request, draw
from fastload.profile import MOST_UNWRITTEN
from fastload.storage.errors import DataError, StorageError
from fastload.storage.notice import once
from fastload_kernels.philox import REPLACE, choice, words

MOST_ATTEMPTS = 16
"""How many replacements are tried for one unreadable sample."""


class Repair:
    """Raises, or replaces; both are counted and reported. Safe in threads."""

    def __init__(self, dataset: Dataset, options: Options) -> None:
        self.dataset, self.seed, self.profile = dataset, options.seed, options.profile
        self.on_error, self.report = options.on_error, options.report
        self._lock = threading.Lock()

    def replace(
        self, request: Request, slot: int, error: DataError, attempt: Callable[[Request], None]
    ) -> None:
        """Put a sound sample into a slot: the first of a fixed sequence of candidates.

        Args:
            request: changed to show the sound sample.
            slot: of the sample that cannot be had.
            error: why.
            attempt: makes a request of one sample, or raises `DataError`.

        Raises:
            DataError: `error`, where nothing is to be replaced or nothing sound was found.
        """
        epoch, sample = request.epoch, int(request.samples[slot])
        if self.on_error == "raise":
            self._note(epoch, sample, error, None)
            raise error
        drawn = words(self.seed, epoch, [sample], REPLACE, 0, MOST_ATTEMPTS)[0]
        for candidate in choice(drawn, len(self.dataset)).tolist():
            one = draw(self.dataset, self.seed, epoch, np.array([candidate]))
            try:
                attempt(one)
            except DataError:
                continue
            request.show(slot, one)
            self._note(epoch, sample, error, candidate)
            return
        self._note(epoch, sample, error, None)
        raise error

    def _note(self, epoch: int, sample: int, error: DataError, replaced_by: int | None) -> None:
        """Count an error and append it to the report file."""
        of_storage = isinstance(error, StorageError)
        with self._lock:
            self.profile.errors += 1
            self.profile.storage_errors += of_storage
            self.profile.replaced += replaced_by is not None
            line: dict[str, Any] = {
                "when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
                "epoch": epoch,
                "index": sample,
                "shard": error.shard,
                "member": error.member,
                "offset": error.offset,
                "reason": error.reason,
                "replaced_by": replaced_by,
            }
            if of_storage:
                line["kind"] = "storage"
            self._keep(line)

    def _keep(self, line: dict[str, Any]) -> None:
        """Append to the file, or where that is not possible to a list; never an error, which would
        hide what is wrong with the data."""
        problem: object = "there is no folder for it"
        try:
            if self.report is not None:
                self.report.parent.mkdir(parents=True, exist_ok=True)
                with self.report.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                return
        except OSError as error:
            problem = error
        where = f"the error report {self.report or ''}".strip()
        once("report", str(self.report), f"{where} is kept in `stats()` alone ({problem})")
        if len(self.profile.unwritten) < MOST_UNWRITTEN:
            self.profile.unwritten.append(line)
