"""A loader's run, the same batches from memory, and the floors, as one set of figures."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

import numpy as np
import torch

from fastload.datasets.base import Dataset
from fastload.engines.batch import draw
from fastload.inspect.codecs import codec_of
from fastload.loader import DEFAULT_PREFETCH, DataLoader
from fastload.processors import processors
from fastload.profiling.floors import floors, has_storage, once, rate, read_all, ready
from fastload.profiling.rule import Advice, Situation, advise

MOST_KEPT = 2**29
"""Bytes of batches that are kept to be shown again."""
Consumer = Callable[[Any], object]


@dataclass(frozen=True)
class Measured:
    """What `measure` found.

    Attributes:
        situation: the figures that the rule goes by.
        advice: what it says.
        samples, seconds: of the loader's run, without its first batch.
        replay: batches from memory, of which each is copied once, samples/s: what no loader beats.
        bytes_stored, bytes_decoded: a sample has.
        storage_was_read: whether the bytes that storage was measured with had been read before, so
            that the system may have had them in memory.
        stats: of the loader.
    """

    situation: Situation
    advice: Advice
    samples: int
    seconds: float
    replay: float
    bytes_stored: float
    bytes_decoded: float
    storage_was_read: bool
    stats: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"sentence": str(self.advice)}


def measure(
    dataset: Dataset,
    *,
    seconds: float = 5.0,
    batch_size: int = 64,
    num_workers: int = 2,
    engine: Any = "auto",
    device: str | None = None,
    shuffle_window: int = 0,
    consumer: Consumer | None = None,
    seed: int = 0,
    on_error: Any = "raise",
) -> Measured:
    """Run a loader for some seconds, show its batches again from memory, measure each part alone.

    Args:
        dataset: with the recipe.
        seconds: of the run; each of the other figures takes a fifth of it.
        batch_size, num_workers, engine, device, shuffle_window, seed, on_error: the loader's.
        consumer: what is done with each batch, such as a training step.

    Raises:
        DataError: names what cannot be read.
        ValueError: where an argument does not fit.
    """
    if not seconds > 0:
        raise ValueError(f"seconds must be above 0, got {seconds}")
    loader = DataLoader(
        dataset, min(batch_size, len(dataset)), shuffle=True, num_workers=num_workers,
        engine=engine, device=device, shuffle_window=shuffle_window, seed=seed,
        on_error=on_error, drop_last=True,
    )  # fmt: skip
    run = _run(loader, consumer or _nobody, seconds)
    part, B = seconds / 5, loader.plan.batch_size
    order = loader.order(0)
    seen = run.samples + B * (DEFAULT_PREFETCH + 1)
    unread = order[seen:] if len(order) >= seen + 2 * B else order
    storage = _storage(dataset, unread[: 8 * B], num_workers, seed, part)
    have = ready(dataset, order[:B], seed)
    found = floors(have, num_workers, part)
    recipe = dataset.recipe
    situation = Situation(
        run.rate, _replayed(run, consumer, part, B) if consumer else None,
        {"storage": storage[0]} | found, num_workers, processors(), storage[1], storage[2],
        shuffle_window, codec_of(next(iter(dataset.sources.values()))),
        loader.device.type, torch.cuda.is_available(), recipe.dtype if recipe else "",
    )  # fmt: skip
    stored = sum(
        int(p.chunks.rows["stored"].sum()) for p in have.request.parts.values() if p.chunks
    )
    decoded = sum(a.nbytes for pixels in have.pixels for a in pixels.values())
    return Measured(
        situation, advise(situation), run.samples, run.seconds, _replayed(run, copied, part, B),
        stored / len(have), decoded / len(have), unread is order, loader.stats(),
    )  # fmt: skip


@dataclass
class _Run:
    samples: int
    seconds: float
    kept: list[Any]

    @property
    def rate(self) -> float:
        return self.samples / max(1e-9, self.seconds)


def _nobody(batch: Any) -> None:
    """Take a batch and do nothing."""


def copied(value: Any) -> Any:
    """A batch of which each tensor is new."""
    if isinstance(value, torch.Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {name: copied(v) for name, v in value.items()}
    return [copied(v) for v in value] if isinstance(value, list) else value


def _run(loader: DataLoader, consume: Consumer, seconds: float) -> _Run:
    """Epoch after epoch until the time is over; the first batch, for which all is opened and
    compiled, is not counted."""
    kept: list[Any] = []
    room, samples, start = MOST_KEPT, 0, 0.0
    batches = _endless(loader)
    for batch in batches:
        if room > 0:
            kept.append(batch)
            room -= nbytes(batch)
        consume(batch)
        if not start:
            start = perf_counter()
            continue
        samples += len(batch["key"])
        if perf_counter() - start >= seconds:
            break
    _synchronise(loader.device)
    took = perf_counter() - start
    batches.close()
    return _Run(samples, took, kept)


def _endless(loader: DataLoader) -> Iterator[Any]:  # type: ignore[misc]
    while True:
        one = iter(loader)
        try:
            yield from one
        finally:
            one.close()  # type: ignore[attr-defined]


def nbytes(value: Any) -> int:
    """Of the tensors in a batch."""
    if isinstance(value, torch.Tensor):
        return value.numel() * value.element_size()
    if isinstance(value, dict):
        return sum(nbytes(v) for v in value.values())
    return sum(nbytes(v) for v in value) if isinstance(value, list | tuple) else 0


def _replayed(run: _Run, consume: Consumer, seconds: float, batch: int) -> float:
    """Samples/s of a consumer of batches that lie in memory."""
    count, start = 0, perf_counter()
    for kept in itertools.cycle(run.kept):
        consume(kept)
        count += 1
        if perf_counter() - start >= seconds:
            break
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return count * batch / max(1e-9, perf_counter() - start)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _storage(
    dataset: Dataset, samples: Any, threads: int, seed: int, seconds: float
) -> tuple[float | None, float | None, float | None]:
    """Reading alone: as the loader does, with four times the threads, and in the order in which
    samples lie on disk. Each part of the samples is read once, and over again if time is left."""
    if not has_storage(dataset):
        return None, None, None
    parts = np.array_split(samples, 3) if len(samples) >= 3 else [samples] * 3
    readers = max(1, threads)
    rates = []
    for some, many in ((parts[0], readers), (parts[1], 4 * readers), (np.sort(parts[2]), readers)):
        request = draw(dataset, seed, 0, np.asarray(some, np.int64))

        def read(slot: int, request: Any = request) -> None:
            read_all(dataset, request, slot)

        start = perf_counter()
        first = once(read, range(len(request)), many)
        left = seconds - (perf_counter() - start)
        rates.append(rate(read, len(request), many, left) if left > 0 else first)
    return rates[0], rates[1], rates[2]
