"""Samples from a service: its catalogue is asked, its files are read."""

import platform
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.candidate import Candidate, Window
from fastload.gather.fetch.location import Made, Scenes, Tally
from fastload.gather.fetch.scene_record import record
from fastload.gather.patch import Patch
from fastload.gather.pixels.looked_at import LookedAt
from fastload.gather.pixels.read import read_sample, read_scl
from fastload.gather.pixels.sample import sample_bytes
from fastload.gather.scene import Scene
from fastload.gather.search.catalogue import Catalogue
from fastload.gather.search.choose import choose
from fastload.gather.search.rule import Rule
from fastload.gather.search.services import Service


@dataclass(frozen=True)
class ServiceMaker:
    """See `Maker`.

    Attributes:
        service: that is asked.
        modalities: of a sample.
        rule: which scenes are chosen; None where they are known.
        max_missing: share of a patch's pixels that may be without data, 0 to 1.
        offset: DN of zero reflectance of all optical scenes, 0 or 1000; None: each item tells.
        options: of `fastload.Remote`, by which files are read, and the catalogue is asked.
        turns: folder through which the processes of a machine share the rate; empty where there is
            none.
    """

    service: Service
    modalities: tuple[str, ...]
    rule: Rule | None
    max_missing: float = 0.0
    offset: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    turns: str = ""

    def choose(self, candidate: Candidate, tally: Tally) -> Scenes:
        """See `Maker.choose`."""
        assert self.rule is not None
        with self._counted(tally) as (catalogue, files), files.remembering():

            def find(modality: str, window: Window) -> Sequence[Scene]:
                return catalogue.scenes(modality, candidate, window)

            def look(scene: Scene) -> NDArray[np.uint8]:
                return read_scl(scene, candidate, self.service.sign, files=files)

            return choose(find, candidate, self.modalities, self.rule, look)

    def make(self, scenes: Scenes, candidate: Candidate, key: str, tally: Tally) -> Made:
        """See `Maker.make`."""
        scenes = {name: scenes[name] for name in self.modalities}
        with self._counted(tally) as (_, files), files.forgetting():
            sign, most = self.service.sign, self.max_missing
            patches = read_sample(scenes, candidate, sign, max_missing=most, files=files)
        told = {name: _records(scenes[name], patches[name]) for name in self.modalities}
        return Made(told, sample_bytes(patches, candidate, key))

    @contextmanager
    def _counted(self, tally: Tally) -> Iterator[tuple[Catalogue, LookedAt]]:
        """This thread's connections, of which what they send and get is counted."""
        catalogue, files = self._tools()
        requests, cost = catalogue.requests, files.cost()
        try:
            yield catalogue, files
        finally:
            read = files.cost().since(cost)
            tally.requests += catalogue.requests - requests + read.requests
            tally.bytes += read.nbytes

    def _tools(self) -> tuple[Catalogue, LookedAt]:
        """This thread's, which last as long as it does."""
        kept = getattr(_MINE, "tools", None)
        if kept is None or kept[0] is not self:
            options = dict(self.options)
            if self.turns:
                options["throttle_file"] = f"{self.turns}/rate.{platform.node()}"
            catalogue = Catalogue(self.service, offset=self.offset, **options)
            files = LookedAt(**{**self.service.options, **options})
            kept = _MINE.tools = self, (catalogue, files)
        tools: tuple[Catalogue, LookedAt] = kept[1]
        return tools


_MINE = threading.local()


def _records(scenes: Sequence[Scene], patches: Sequence[Patch]) -> list[dict[str, Any]]:
    """What the manifest says of a modality's scenes, by date, as its patches are in the sample."""
    pairs = zip(scenes, patches, strict=True)
    told = [(scene.time, scene.id, record(scene, patch)) for scene, patch in pairs]
    return [one for *_, one in sorted(told, key=lambda one: one[:2])]
