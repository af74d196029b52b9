"""Nothing that a file of tensors may hold crashes the reader, hangs it, or takes much memory."""

import os

import pytest

from tests.fastload.fuzz_torch import run

EXECUTIONS = 500_000


@pytest.mark.timeout(60)
def test_mutants_are_read_or_refused() -> None:
    """Some; `tests.fastload.fuzz_torch` says how they are made and what is held of each."""
    counts = run(2.0, 2000, 0)
    assert counts["read"] > 10
    assert counts["refused"] > 100
    assert counts["shard refused"] > 10


@pytest.mark.long
@pytest.mark.timeout(4 * 3600)
def test_half_a_million_mutants_are_read_or_refused() -> None:
    """``FUZZ_SEED`` begins elsewhere."""
    counts = run(4 * 3600.0, EXECUTIONS, int(os.environ.get("FUZZ_SEED", "1000000")))
    print(counts)
    assert counts.total() == EXECUTIONS
    assert all(counts[kind] for kind in ("read", "refused", "shard read", "shard refused"))
