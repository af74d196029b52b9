"""The figures of a profile as a table, and as a chart."""

from collections.abc import Iterator
from pathlib import Path

from fastload.extras import missing
from fastload.profiling.measure import Measured
from fastload.profiling.rule import FLOORS, together

WHAT = {
    "loader": "the loader, to its consumer",
    "consumer": "the consumer, batches from memory",
    "replay": "batches from memory, each copied",
    "storage": "storage alone: read bytes",
    "decode": "decode alone: bytes in memory",
    "views": "views alone: pixels in memory",
    "memory": "memory alone: copy pixels",
}


def rates(found: Measured) -> dict[str, float | None]:
    """All figures in the order of the table, samples/s."""
    s = found.situation
    ends = {"loader": s.loader, "consumer": s.consumer, "replay": found.replay}
    return ends | {name: s.floors.get(name) for name in FLOORS}


def table(found: Measured) -> str:
    """What people read."""
    return "\n".join(_lines(found))


def _lines(found: Measured) -> Iterator[str]:
    s = found.situation
    yield (
        f"{found.samples} samples in {found.seconds:.1f} s, {s.workers} workers, "
        f"engine {found.stats['engine']}, device {s.device}, {s.codec}"
    )
    yield (
        f"a sample: {found.bytes_stored / 1e6:.2f} MB stored, "
        f"{found.bytes_decoded / 1e6:.2f} MB decoded"
    )
    yield f"{'':36}{'samples/s':>12}"
    for name, rate in rates(found).items():
        if rate is not None:
            yield f"{WHAT[name]:36}{rate:12.1f}"
    if s.more_readers is not None:
        yield f"{'  storage, four times the reads':36}{s.more_readers:12.1f}"
    if s.in_order is not None:
        yield f"{'  storage, in order':36}{s.in_order:12.1f}"
    yield f"{'read, decode, views in turn':36}{together(s):12.1f}"
    if s.floors.get("storage") is None:
        yield "storage: this layout's reading cannot be told from its decoding"
    elif found.storage_was_read:
        yield "storage: all samples had been read before, so the system may have had them in memory"
    yield str(found.advice)


def chart(found: Measured, path: Path) -> None:
    """Draw the figures as bars, on a logarithmic scale.

    Raises:
        ImportError: where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise missing("--chart needs matplotlib", "tools", "leave it out") from error
    shown = {name: rate for name, rate in rates(found).items() if rate and name != "replay"}
    names = [WHAT[name] for name in shown]
    floor = found.advice.floor
    colours = ["#c0392b" if name == floor else "#4a7fb0" for name in shown]
    figure = Figure(figsize=(8, 0.55 * len(shown) + 1.6), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, list(shown.values()), color=colours)
    axes.bar_label(bars, [f" {rate:.3g}" for rate in shown.values()])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="samples/s", title=f"floor: {floor}")
    axes.margins(x=0.2)
    figure.supxlabel(found.advice.setting or "no setting of the loader helps", fontsize="small")
    figure.savefig(path, dpi=120)
