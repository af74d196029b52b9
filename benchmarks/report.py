"""Turn a run into a table, JSON and a bar chart. Pure functions of the run."""

from pathlib import Path
from typing import Any

from benchmarks.results import Comparison, Race, Run

OURS, PEER = "#1b6ca8", "#b8bfc6"


def table(run: Run) -> str:
    """A table for the terminal: each figure with its quartiles, then the ratios.

    What failed or was skipped is listed with its reason; nothing is left blank.
    """
    lines = [line for race in run.races for line in [*_figures(race), *_ratios(race), ""]]
    lines += [f"{m.outcome.upper()}: {m.name}: {m.reason}" for m in run.missing]
    lines += [f"{key}: {value}" for key, value in run.machine.items() if key in _SHOWN]
    return "\n".join(lines)


_SHOWN = ("cpu", "cores", "workers", "commit", "cache", "data", "load_before")


def _figures(race: Race) -> list[str]:
    width = max(len(f.name) for f in race.figures)
    lines = [f"{race.title}  [{race.unit}, median (quartiles) of {len(race.figures[0].rounds)}]"]
    for f in race.figures:
        low, high = f.quartiles
        lines.append(
            f"  {f.name:<{width}}  {f.median:>9.1f}  ({low:.1f} to {high:.1f})  {f.note}".rstrip()
        )
    return lines


def _ratios(race: Race) -> list[str]:
    return [f"    {ratio_text(race, c)}" for c in race.comparisons]


def ratio_text(race: Race, comparison: Comparison) -> str:
    """One ratio as a line of text."""
    text = f"{comparison.over} / {comparison.under} = {race.ratio(comparison):.2f}"
    if comparison.expected is None:
        return text
    return f"{text}, expected >= {comparison.expected:g}: {race.verdict(comparison)}"


def as_json(run: Run) -> dict[str, Any]:
    """The run as plain lists, dicts, numbers and strings."""
    return {
        "machine": dict(run.machine),
        "races": [_race(race) for race in run.races],
        "missing": [
            {"name": m.name, "outcome": m.outcome, "reason": m.reason} for m in run.missing
        ],
    }


def _race(race: Race) -> dict[str, Any]:
    return {
        "title": race.title,
        "unit": race.unit,
        "figures": [
            {
                "name": f.name,
                "median": f.median,
                "quartiles": list(f.quartiles),
                "rounds": list(f.rounds),
                "note": f.note,
            }
            for f in race.figures
        ],
        "ratios": [
            {
                "over": c.over,
                "under": c.under,
                "ratio": race.ratio(c),
                "expected": c.expected,
                "verdict": race.verdict(c),
            }
            for c in race.comparisons
        ],
    }


def chart(run: Run, path: Path) -> None:
    """Write a bar chart as PNG: one panel a race, the bars' whiskers are the quartiles.

    Raises:
        ValueError: where the run has no race.
    """
    if not run.races:
        raise ValueError("a chart needs at least one race, the run has none")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    heights = [len(race.figures) + 1.2 for race in run.races]
    figure = Figure(figsize=(9, 0.42 * sum(heights) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for race, axes in zip(run.races, panels, strict=True):
        _panel(race, axes)
    m = run.machine
    figure.suptitle(
        f"{m.get('cpu')}, {m.get('workers')} workers, commit {m.get('commit')}", fontsize=8
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _panel(race: Race, axes: Any) -> None:
    names = [f.name for f in race.figures]
    medians = [f.median for f in race.figures]
    whiskers = [
        [max(0.0, f.median - f.quartiles[0]) for f in race.figures],
        [max(0.0, f.quartiles[1] - f.median) for f in race.figures],
    ]
    colours = [OURS if name.startswith("fastload") else PEER for name in names]
    bars = axes.barh(names, medians, xerr=whiskers, color=colours, error_kw={"lw": 0.8})
    axes.bar_label(bars, [_label(race, name) for name in names], padding=4, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.7 * max(f.quartiles[1] for f in race.figures))
    axes.set_title(f"{race.title} [{race.unit}]", fontsize=8, loc="left")
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _label(race: Race, name: str) -> str:
    """The median, with the ratios that this contestant is the lower part of."""
    parts = [f"{race.figure(name).median:.1f}"]
    for c in race.comparisons:
        if c.under == name:
            promise = "" if c.expected is None else f", expected {c.expected:g}"
            parts.append(f"({c.over} is {race.ratio(c):.2f} x{promise})")
    return "  ".join(parts)
