"""``python -m benchmarks.archives``: each layout unconverted, packed, and as its users read it.

The same made scenes are written in every layout. Ours makes the views of the MoCo-v2 pair of
SSL4EO-S12; the peer only reads two dates a sample, without any augmentation, by torch's loader with
as many workers. Files lie in the page cache. Rounds are interleaved.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import fastload
from benchmarks import machine
from benchmarks.archives.cases import CASES, Case
from benchmarks.archives.counted import Count, Counted
from benchmarks.measure import Contestant, Stream, calibrate, once
from fastload.pack import Options, pack
from fastload.storage.at import Place
from fastload.synth import synth
from ssl4eo_train.methods import moco_v2

UNCONVERTED, PACKED, PEER = "unconverted", "packed", "peer"
PEER_BATCH = 4
"""Samples of a peer's batch: what torch's workers fetch ahead is passed before time starts."""


def opened(case: Case, root: Place, name: str | None, recipe: Any) -> fastload.Dataset:
    """A layout as it is written, or packed where there is no name."""
    chosen = {"progress": False, "recipe": recipe, "modalities": [case.modality]}
    if name is None:
        return fastload.open(root, **chosen)
    return fastload.open(root, layout_name=name, **chosen, **case.options)


def ours(dataset: fastload.Dataset, batch: int, workers: int) -> Stream:
    """Batches of the loader, without end."""
    loader = fastload.DataLoader(
        dataset, batch_size=batch, shuffle=True, num_workers=workers, drop_last=True
    )
    while True:
        yield from loader


def written_as(case: Case, name: str, root: Path) -> dict[str, Path]:
    """Where the case's data lie, unconverted and packed."""
    source = fastload.SSL4EOS12(root / "scenes", modalities=["S2L1C"], progress=False)
    places = {UNCONVERTED: root / name, PACKED: root / f"{name}-packed"}
    case.write(source, "S2L1C", places[UNCONVERTED])
    whole = opened(case, places[UNCONVERTED], name, None)
    pack(whole, places[PACKED], Options(), executor="threads", say=lambda _: None)
    return places


def size_of(folder: Path) -> int:
    """Bytes of all files, without indexes."""
    return sum(
        f.stat().st_size for f in folder.rglob("*") if f.is_file() and "fastload" not in f.name
    )


def bytes_of(case: Case, root: Path, name: str | None, recipe: Any) -> float:
    """Bytes that a sample's views ask of the store."""
    count = Count()
    dataset = opened(case, Counted(root, count), name, recipe)
    batch = min(8, len(dataset))
    loader = fastload.DataLoader(dataset, batch_size=batch, num_workers=0, drop_last=True)
    before, samples = count.bytes, 0
    for _ in loader:
        samples += batch
    return (count.bytes - before) / samples


def measured(name: str, root: Path, batch: int, workers: int, rounds: int, seconds: float) -> Any:
    """The figures of a layout."""
    case = CASES[name]
    places = written_as(case, name, root)
    recipe = moco_v2.recipe(case.image)
    names: dict[str, str | None] = {UNCONVERTED: name, PACKED: None}
    sets = {which: opened(case, places[which], names[which], recipe) for which in names}
    entries = [
        Contestant(
            which, lambda d=data: ours(d, min(batch, len(d)), workers), lambda _: None,  # type: ignore[misc]
            min(batch, len(data)),
        )
        for which, data in sets.items()
    ]  # fmt: skip
    unconverted, (rival, named) = places[UNCONVERTED], case.rival
    few = case.samples or PEER_BATCH
    entries.append(
        Contestant(
            PEER, lambda: rival(unconverted, case.modality, few, workers), lambda _: None,
            few, burst=workers, ahead=2 * workers,
        )
    )  # fmt: skip
    spans = {c.name: calibrate(c, seconds) for c in entries}
    rates: dict[str, list[float]] = {c.name: [] for c in entries}
    for _ in range(rounds):
        for c in entries:
            rates[c.name].append(once(c, spans[c.name]))
    return {
        "samples_a_second": rates,
        "samples": {which: len(data) for which, data in sets.items()},
        "bytes_a_sample": {w: bytes_of(case, places[w], names[w], recipe) for w in names},
        "bytes_on_disk": {which: size_of(place) for which, place in places.items()},
        "peer": named,
    }


HEAD = (
    "| layout | unconverted /s | packed /s | peer /s | unconverted / peer | packed / peer | "
    "MB read a sample | packed | MB on disk | packed | peer |\n" + "|---" * 11 + "|"
)


def line(name: str, found: Any) -> str:
    """A row of the table."""
    plain, packed, peer = (median(r) for r in found["samples_a_second"].values())
    read, disk = found["bytes_a_sample"], found["bytes_on_disk"]
    cells = [
        name, f"{plain:.0f}", f"{packed:.0f}", f"{peer:.1f}", f"{plain / peer:.1f}",
        f"{packed / peer:.1f}", *(f"{read[w] / 1e6:.2f}" for w in (UNCONVERTED, PACKED)),
        *(f"{disk[w] / 1e6:.0f}" for w in (UNCONVERTED, PACKED)), found["peer"],
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, and write the figures."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.archives", description=__doc__)
    p.add_argument("layouts", nargs="*", choices=[[], *CASES], metavar="LAYOUT", help="(all)")
    p.add_argument("--samples", type=int, default=64, help="scenes of four dates (64)")
    p.add_argument("--size", type=int, default=264, help="their side in pixels (264)")
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--workers", type=int, default=2)
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=5.0, help="of a timed span (5)")
    p.add_argument("--json", type=Path, metavar="FILE")
    args = p.parse_args(argv)
    out: dict[str, Any] = {"machine": machine.describe(), "layouts": {}}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synth(root / "scenes", args.samples, modalities=["S2L1C"], size=args.size, seed=1)
        print(HEAD, flush=True)
        for name in args.layouts or CASES:
            found = measured(name, root, args.batch, args.workers, args.rounds, args.seconds)
            out["layouts"][name] = found
            print(line(name, found), flush=True)
            if args.json is not None:
                args.json.write_text(json.dumps(out, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
