"""The rule: from what was measured to the floor and the one setting to change. Plain numbers in,
a sentence out, so that it can be tried on any situation."""

from collections.abc import Mapping
from dataclasses import dataclass

FLOORS = ("storage", "decode", "views", "memory")
CONSUMER = "consumer"
NEAR = 0.9
"""A loader that brings so much of what its consumer can take is not what limits."""
GAIN = 1.5
"""How many times faster another way must be to be worth a setting."""
LOSS = 0.5
"""A loader below this part of what its parts allow together loses time between them."""


@dataclass(frozen=True)
class Situation:
    """What was measured, samples/s throughout, and what it was measured with.

    Attributes:
        loader: what the loader brought to the consumer.
        consumer: what the consumer takes from batches in memory; None where none was given.
        floors: of `FLOORS`, each alone with as many threads; None where it cannot be told apart.
        workers: threads of the loader; 0 is the calling thread alone.
        processors: that this process may use.
        more_readers: storage with four times the threads.
        in_order: storage where it is read from one end to the other.
        shuffle_window: of the loader.
        codec: of the chunks.
        device: where the views are made, and
        gpu: whether there is one.
        dtype: of the views; "" for raw pixels.
        prefetch: batches made ahead.
    """

    loader: float
    consumer: float | None
    floors: Mapping[str, float | None]
    workers: int
    processors: int
    more_readers: float | None = None
    in_order: float | None = None
    shuffle_window: int = 0
    codec: str = "blosc lz4"
    device: str = "cpu"
    gpu: bool = False
    dtype: str = "float32"
    prefetch: int = 2


@dataclass(frozen=True)
class Advice:
    """The floor, and what to change.

    Attributes:
        floor: of `FLOORS`, or "consumer".
        setting: what to change, as in ``num_workers 2 -> 4``; "" where nothing of the loader helps.
        reason: a sentence.
    """

    floor: str
    setting: str
    reason: str

    def __str__(self) -> str:
        what = f"change {self.setting}" if self.setting else "no setting of the loader helps"
        return f"floor: {self.floor}; {what}: {self.reason}"


def advise(s: Situation) -> Advice:
    """Name the floor and the one setting to change."""
    if s.consumer is not None and s.loader >= NEAR * s.consumer:
        return Advice(
            CONSUMER, "", f"it takes {s.consumer:.0f} samples/s of batches that lie in memory"
        )
    floor = slowest(s.floors)
    if s.workers and s.loader < LOSS * together(s):
        reason = f"the parts together allow {together(s):.0f} samples/s"
        return Advice(floor, f"prefetch_factor {s.prefetch} -> {2 * s.prefetch}", reason)
    by_floor = {"storage": _storage, "decode": _decode, "views": _views, "memory": _memory}
    return by_floor[floor](s)


def slowest(floors: Mapping[str, float | None]) -> str:
    """The part that does the least alone."""
    return min(FLOORS, key=lambda name: floors.get(name) or float("inf"))


def together(s: Situation) -> float:
    """What threads can do that read, decode and render one sample after the other."""
    parts = [s.floors.get(name) for name in ("storage", "decode", "views")]
    return 1 / max(1e-12, sum(1 / rate for rate in parts if rate))


def _threads(s: Situation, what: str) -> Advice | None:
    """More workers, where processors are idle."""
    if s.workers >= s.processors:
        return None
    reason = f"{what} is work of processors, of which there are {s.processors}"
    return Advice(what, f"num_workers {s.workers} -> {s.processors}", reason)


def _storage(s: Situation) -> Advice:
    alone = s.floors["storage"] or 0.0
    if s.in_order and s.in_order > GAIN * max(alone, s.more_readers or 0) and not s.shuffle_window:
        reason = f"read in order it gives {s.in_order:.0f} samples/s, at random {alone:.0f}"
        return Advice("storage", "shuffle_window 0 -> 4", reason)
    if s.more_readers and s.more_readers > GAIN * alone:
        more = 4 * max(1, s.workers)
        reason = f"with {more} reads in flight it gives {s.more_readers:.0f} samples/s"
        return Advice("storage", f"num_workers {s.workers} -> {more}", reason)
    if "zstd" not in s.codec:
        reason = f"the bytes are {s.codec}; zstd has fewer of them"
        return Advice("storage", f"pack with zstd ({s.codec} -> zstd)", reason)
    reason = "neither order nor more reads at once help, and the bytes are few already"
    return Advice("storage", "the place of the data -> a faster disk", reason)


def _decode(s: Situation) -> Advice:
    found = _threads(s, "decode")
    if found is not None:
        return found
    if s.gpu and s.device == "cpu":
        return Advice("decode", "device cpu -> cuda", "all processors decode already")
    if "lz4" not in s.codec:
        reason = f"all processors decode {s.codec} already; lz4 is decoded faster"
        return Advice("decode", f"pack with lz4 ({s.codec} -> lz4)", reason)
    reason = "all processors decode already; fewer bands and whole timestamps are less to decode"
    return Advice("decode", "pack with the bands that are used (all -> chosen)", reason)


def _views(s: Situation) -> Advice:
    found = _threads(s, "views")
    if found is not None:
        return found
    if s.gpu and s.device == "cpu":
        return Advice("views", "device cpu -> cuda", "all processors make views already")
    return Advice("views", "the recipe -> smaller views or fewer operations",
                  "all processors make views already")  # fmt: skip


def _memory(s: Situation) -> Advice:
    if s.dtype == "float32":
        return Advice("memory", "the recipe's dtype float32 -> float16", "half the bytes to write")
    return Advice("memory", "", "the bytes of a batch cannot be written faster here")
