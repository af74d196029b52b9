import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import packing
from benchmarks.data import Shards


def test_a_way_gives_back_what_it_stored() -> None:
    rng = np.random.default_rng(0)
    for dtype in (np.int16, np.uint8):
        chunk = rng.integers(0, 250, (2, 8, 8)).astype(dtype)
        for way in packing.WAYS:
            out = np.empty_like(chunk)
            way.decode(way.encoded(chunk), out)
            np.testing.assert_array_equal(out, chunk)


def test_pixels_that_come_back_wrong_are_no_figure() -> None:
    way, chunk = packing.PUBLISHED, np.zeros((1, 8, 8), np.int16)
    with pytest.raises(AssertionError, match="lz4 5 byte own: decoded pixels are not those"):
        packing._check(way, [way.encoded(chunk + 1)], [chunk])


def test_sizes_are_of_the_published_ways() -> None:
    chunks = [np.tile(np.arange(64, dtype=np.int16), (2, 64, 1))] * 2
    ways = (packing.PUBLISHED, packing.Way("zstd", 1, "bit", 2**16))
    first, other = packing.store("S2L1C", chunks, ways, 3)
    total = sum(chunk.nbytes for chunk in chunks)
    assert (first.size, first.speed) == (1.0, 1.0)
    assert other.ratio == pytest.approx(total / sum(len(ways[1].encoded(c)) for c in chunks))
    assert other.size == pytest.approx(first.ratio / other.ratio)
    assert other.decode > 0
    assert other.speed == pytest.approx(other.decode / first.decode)


@pytest.mark.slow
def test_the_command(
    shards: Shards,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ways = (packing.PUBLISHED, packing.Way("zstd", 1, "bit", 2**16))
    monkeypatch.setattr(packing, "WAYS", ways)
    monkeypatch.setattr(packing, "RACED", ways)
    path = tmp_path / "packing.json"
    line = ["--root", str(shards.root), "--modality", "S2L1C", "--samples", "2", "--rounds", "1"]
    line += ["--seconds", "0.05", "--batch", "3", "--crop", "32", "--json", str(path)]
    assert packing.main(line) == 0
    found = json.loads(path.read_text())
    assert [row["name"] for row in found["stored"]] == [way.name for way in ways]
    assert [row["name"] for row in found["moco_pairs"]] == [way.name for way in ways]
    assert found["moco_pairs"][0]["speed"] == 1.0
    assert "| zstd 1 bit 64K |" in capsys.readouterr().out
