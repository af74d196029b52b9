"""Whether this code gives the batches and states that are recorded, in every engine.

Bit for bit where the processor is of the kind that made the record. Elsewhere the last bits of
resampled pixels may differ: those are compared by tolerance, in one sample of each recipe, and all
the rest bit for bit.
"""

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from tests.recorded.cases import CASES, RECIPES, STATES, WAYS, Runs, processor
from tests.recorded.record import read
from tests.tolerances import assert_close

RECORD, PIXELS = read()
EXACT = RECORD["processor"] == processor()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTLOAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Runs(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(params=WAYS, ids=lambda way: f"{way[0]} {way[1]}")
def way(request: pytest.FixtureRequest) -> tuple[str, int]:
    if request.param[0] == "dali" and importlib.util.find_spec("nvidia.dali") is None:
        pytest.skip("needs nvidia-dali")
    return request.param


def assert_recorded(epochs: Any, recorded: Any, case: str) -> None:
    """Batches as text against the record, down to the order of their keys."""
    assert [len(epoch) for epoch in epochs] == [len(epoch) for epoch in recorded]
    for e, (mine, theirs) in enumerate(zip(epochs, recorded, strict=True)):
        for b, (batch, expected) in enumerate(zip(mine, theirs, strict=True)):
            # Dates of the other modalities came after the record was made.
            batch = {path: text for path, text in batch.items() if not path.startswith("time_")}
            assert list(batch) == list(expected), f"epoch {e}, batch {b}"
            for path, text in batch.items():
                said = (compared(case, path, t) for t in (text, expected[path]))
                assert next(said) == next(said), f"epoch {e}, batch {b}, {path}"


def compared(case: str, path: str, text: str) -> str:
    """What must be equal of a leaf: views lose their digest on another kind of processor."""
    is_view = CASES[case].recipe is not None and path.split("/")[0] in CASES[case].modalities
    return text.rpartition(" ")[0] if is_view and not EXACT else text


def test_the_record_is_whole() -> None:
    assert list(RECORD["cases"]) == list(CASES)
    assert list(RECORD["states"]) == list(STATES)


@pytest.mark.parametrize("case", CASES)
def test_batches(runs: Runs, way: tuple[str, int], case: str) -> None:
    found, first = runs.run(case, *way)
    recorded = RECORD["cases"][case]
    assert_recorded(found["epochs"], recorded["epochs"], case)
    assert found["length"] == recorded["length"]
    assert found["errors"] == recorded["errors"]
    recipe = CASES[case].recipe
    if case in RECIPES and recipe is not None:
        for path, pixels in first.items():
            expected = PIXELS[f"{case}: {path}"]
            assert (pixels.dtype, pixels.shape) == (expected.dtype, expected.shape), path
            assert_close(pixels, expected, recipe.dtype)


@pytest.mark.parametrize("name", STATES)
def test_states(runs: Runs, way: tuple[str, int], name: str) -> None:
    """States of the loader's own order load as they are; those of samplers and of block shuffle
    lack what their order depends on, and are refused."""
    recorded = RECORD["states"][name]
    mine, old = runs.state(name, *way), recorded["state"]
    assert place(mine, runs.length(name)) == place(old, runs.length(name))
    newer = {"borders", "sampler"} & set(mine)
    for case, expected in recorded["resumed"].items():
        if newer:
            lacks = "|".join([*newer, "global_batch"])
            with pytest.raises(ValueError, match=f"the state's ({lacks}) is"):
                runs.resumed(case, old, *way)
        state = mine | {field: old[field] for field in ("epoch", "step")} if newer else old
        found = runs.resumed(case, state, *way)
        assert_recorded(found["epochs"], expected["epochs"], case)
        assert {f: found["state"][f] for f in FIELDS} == {f: expected["state"][f] for f in FIELDS}


FIELDS = ("version", "epoch", "step", "order", "dataset", "samples", "seed", "shuffle", "drop_last")


def place(state: dict[str, Any], length: int) -> tuple[dict[str, Any], int, int]:
    """A state's other fields, and where it stands; the end of an epoch is the next one's start."""
    epoch, step = state["epoch"], state["step"]
    others = {field: state[field] for field in FIELDS if field not in ("epoch", "step")}
    return (others, epoch + 1, 0) if step == length else (others, epoch, step)
