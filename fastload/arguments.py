"""What a DataLoader's arguments may be; each error names the argument."""

from collections.abc import Sequence

from fastload.engines import MOVERS
from fastload.engines.dali import need_dali


def check(engine: str, on_error: str, rank: int | None, world_size: int | None) -> None:
    """Check what does not depend on the dataset.

    Raises:
        ValueError: names the argument.
        ImportError: where the engine is "dali" and DALI is not installed.
    """
    *others, last = map(repr, ("auto", *MOVERS))
    if engine != "auto" and engine not in MOVERS:
        raise ValueError(f"engine must be {', '.join(others)} or {last}, got {engine!r}")
    if engine == "dali":
        need_dali()
    if on_error not in ("raise", "replace"):
        raise ValueError(f"on_error must be 'raise' or 'replace', got {on_error!r}")
    if (rank is None) != (world_size is None):
        raise ValueError(f"rank and world_size go together, got {rank=} and {world_size=}")


def check_fast(batch_size: int | None, num_workers: int, prefetch_factor: int | None) -> None:
    """Check what a fastload dataset is loaded with.

    Raises:
        ValueError: names the argument.
    """
    if batch_size is None:
        raise ValueError("batch_size=None (no batching) is not supported for fastload datasets")
    if num_workers < 0:
        raise ValueError(f"num_workers must not be negative, got {num_workers}")
    if prefetch_factor is not None and prefetch_factor < 1:
        raise ValueError(f"prefetch_factor must be at least 1, got {prefetch_factor}")


def check_foreign(dataset: object, given: Sequence[str]) -> None:
    """Refuse arguments that would be ignored for a dataset that torch loads.

    Args:
        dataset: the dataset.
        given: names of the arguments that were given and that only fastload datasets know.

    Raises:
        ValueError: names them.
    """
    if given:
        kind = type(dataset).__name__
        raise ValueError(
            f"{', '.join(given)}: for fastload datasets only, and {kind} is none that the fast "
            "path knows"
        )
