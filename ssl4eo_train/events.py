"""TensorBoard's events, written where they arise, so that a full disk is an error there.

TensorBoard's own writer has a thread, which ends with a traceback where it cannot write.
"""

import os
import socket
import time
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_NUMBER = count()  # So that files of one process differ.


class Events:
    """One file of events.

    Args:
        folder: where it goes, beside those of earlier runs.
        first: the step that is logged first; TensorBoard leaves out what earlier files have of it
            and of later ones.

    Raises:
        OSError: where it cannot be written; so do all methods.
    """

    def __init__(self, folder: Path, first: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._event: Any = Event
        self._summary: Any = summary
        name = f"{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}.{next(_NUMBER)}"
        self._file = (folder / f"events.out.tfevents.{name}").open("xb")
        self._records = RecordWriter(self._file)
        self._write(file_version="brain.Event:2")
        self._write(step=first, session_log=SessionLog(status=SessionLog.START))
        self.flush()

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Add a number."""
        self._write(step=step, summary=self._summary.scalar(name, value))

    def add_image(self, name: str, image: NDArray[np.uint8], step: int) -> None:
        """Add an image ``[3, H, W]``."""
        self._write(step=step, summary=self._summary.image(name, image, dataformats="CHW"))

    def _write(self, **what: Any) -> None:
        event = self._event(wall_time=time.time(), **what)
        self._records.write(event.SerializeToString())

    def flush(self) -> None:
        """Hand all to the system."""
        self._file.flush()

    def close(self) -> None:
        """End the file."""
        self._file.close()
