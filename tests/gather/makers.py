"""An archive in memory behind the functions of a real one, which keeps account of what it gives."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastload.gather.candidate import Candidate, Window
from fastload.gather.fetch.location import Made, Scenes, Tally
from fastload.gather.patch import Unfit
from fastload.gather.scene import Scene
from fastload.storage.errors import DataError, StorageError

MODALITIES = ("S2L2A", "S1RTC")
WINDOWS = tuple(
    Window(np.datetime64(f"2021-{month:02d}-01"), np.datetime64(f"2021-{month:02d}-21"))
    for month in (3, 6)
)
CANDIDATES = 3


@dataclass(frozen=True)
class Places:
    """A plan of so many locations, with three candidates each."""

    count: int

    def __len__(self) -> int:
        return self.count

    def key(self, i: int) -> str:
        return f"{i:07d}"

    def candidates(self, i: int) -> tuple[Candidate, ...]:
        return tuple(
            Candidate(i, 2 * k, i / 7 - 20, 50 - i / 9, WINDOWS) for k in range(CANDIDATES)
        )


def first_fit(i: int) -> int | None:
    """Which candidate of a location fits: of some none, of some a later one."""
    return None if i % 7 == 3 else 2 if i % 5 == 1 else 0


@dataclass(frozen=True)
class Archive:
    """See `Maker`. What it gives is written to a file of the folder, a line each; the locations
    that files `down` and `damaged` name cannot be had.

    Attributes:
        folder: of these.
        size: bytes of a sample of a modality.
        seconds: that a candidate takes.
    """

    folder: Path
    size: int = 3000
    seconds: float = 0.0

    def choose(self, candidate: Candidate, tally: Tally) -> Scenes:
        i, k = candidate.location, candidate.attempt // 2
        tally.requests += 1
        self._log(f"search {i} {k}")
        if i in self.trouble("damaged"):
            raise DataError(f"https://archive/{i}.tif", "", 7, "a block cannot be decoded")
        if i in self.trouble():
            raise StorageError(f"https://archive/{i}.tif", "", 7, "the server answers HTTP 503")
        if k != first_fit(i):
            raise Unfit("cloud" if k else "no scene", f"candidate {k} of {i}")
        return {name: [_scene(name, i, t) for t in range(len(WINDOWS))] for name in MODALITIES}

    def make(self, scenes: Scenes, candidate: Candidate, key: str, tally: Tally) -> Made:
        time.sleep(self.seconds)
        tally.requests += 4
        tally.bytes += 2 * self.size
        self._log(f"read {candidate.location} {candidate.attempt // 2}")
        told = {name: [_told(scene) for scene in some] for name, some in scenes.items()}
        return Made(told, {n: self.sample(n, candidate.location) for n in scenes})

    def sample(self, name: str, i: int) -> bytes:
        return np.random.default_rng([i, len(name)]).bytes(self.size + i)

    def trouble(self, kind: str = "down") -> set[int]:
        path = self.folder / kind
        return {int(text) for text in path.read_text().split()} if path.exists() else set()

    def in_trouble(self, *numbers: int, kind: str = "down") -> None:
        (self.folder / kind).write_text(" ".join(map(str, numbers)))

    def _log(self, line: str) -> None:
        file = os.open(self.folder / "log", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.write(file, f"{line}\n".encode())
        os.close(file)

    def log(self) -> list[str]:
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []


def _scene(modality: str, i: int, t: int) -> Scene:
    time_ = np.datetime64(f"2021-{(3, 6)[t]:02d}-10T10:20:30.250", "ns")
    ring = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    place = f"https://archive/{modality}/{i}/{t}"
    return Scene(
        modality, f"{modality}_{i}_{t}", modality.lower(), time_, 0.25 if t else None,
        {"type": "Polygon", "coordinates": [ring]}, None if t else 32633,
        {"B02": f"{place}/B02.tif", "SCL": f"{place}/SCL.tif"}, 1000 * t, "baseline 04.00",
        {"tile": "33UTP", "sequence": None},
    )  # fmt: skip


def _told(scene: Scene) -> dict[str, Any]:
    from fastload.gather.fetch.scene_record import record
    from fastload.gather.patch import Patch

    transform = (10.0, 0.0, 600000.0, 0.0, -10.0, 5300040.0)
    mask = np.zeros((4, 4), np.uint8)
    mask[0] = 4
    bands = np.zeros((1, 4, 4), np.int16)
    return record(scene, Patch(scene, bands, ("B02",), 32633, transform, mask))
