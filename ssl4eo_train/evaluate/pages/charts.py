"""Charts of a result as SVG, by matplotlib, in the colours of the page that they stand on.

Their text stays text. They are as wide as a phone, so that nothing on one becomes too small.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

WIDTH = 3.9
"""Inches, of 96 pixels on a page."""
INK, LINE, FILL, SECOND = "#010203", "#040506", "#070809", "#0a0b0c"
"""Stand for the page's colours."""
PAGE = {INK: "var(--ink)", LINE: "var(--line)", FILL: "var(--dot)", SECOND: "var(--accent)"}
PAPER = {INK: "#1d2329", LINE: "#c9cdd1", FILL: "#1f6f8b", SECOND: "#b3392c"}
"""The same for a file of its own, on white."""
FEW = 2.0
"""From this ratio of greatest to least on, in powers of ten, an axis of settings is logarithmic."""
PRIMARY = {"class": "recall", "labels": "ap", "segment": "iou", "change": "f1"}
"""What is drawn of each class, by kind of task."""


def all_charts(result: Mapping[str, Any]) -> dict[str, str]:
    """SVG texts by name: ``classes``, ``history`` of more than one row, and ``confusion``, which is
    for white paper alone."""
    found = {"classes": classes(result)}
    if len(result["history"]) > 1:
        found["history"] = history(result["history"], result["chosen"])
    if result["confusion"]:
        found["confusion"] = confusion(result["confusion"], result["classes"])
    return found


def coloured(svg: str, colours: Mapping[str, str]) -> str:
    """A chart in the colours of `PAGE` or `PAPER`."""
    for placeholder, colour in colours.items():
        svg = svg.replace(placeholder, colour)
    return svg


def classes(result: Mapping[str, Any]) -> str:
    """A bar a class, with its interval."""
    figure_of = PRIMARY[result["kind"]]
    names, rows = result["classes"], [row[figure_of] for row in result["per_class"]]
    figure, [axes] = _figure(0.55 + 0.21 * len(names))
    for k, row in enumerate(rows):
        if row["value"] is None:
            axes.text(1, k, "undefined", va="center", fontsize=7)
            continue
        axes.barh(k, 100 * row["value"], height=0.62, color=FILL)
        if row["low"] is not None:
            axes.plot([100 * row["low"], 100 * row["high"]], [k, k], color=INK, linewidth=1.2)
    axes.set_yticks(range(len(names)), [_short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel(f"{figure_of} in %, with its 95 % interval")
    return _svg(figure, "classes")


def _short(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"


def axis_of(history: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]) -> str:
    """The name that a history runs over: what was chosen, or the epoch; "" for its rows."""
    names = [*(n for n in chosen if n in history[0]), "epoch", "step"]
    return next((n for n in names if all(n in row for row in history)), "")


def history(rows: Sequence[Mapping[str, Any]], chosen: Mapping[str, Any]) -> str:
    """A small chart of each figure; where the chosen setting lies is marked."""
    axis = axis_of(rows, chosen)
    names = list(dict.fromkeys(n for row in rows for n, v in row.items() if _is(v) and n != axis))
    figure, all_axes = _figure(0.3 + 1.25 * len(names), len(names))
    at = [row[axis] if axis else i for i, row in enumerate(rows)]
    for axes, name in zip(all_axes, names, strict=True):
        shown = [(x, row[name]) for x, row in zip(at, rows, strict=True) if _is(row.get(name))]
        axes.plot(*zip(*shown, strict=True), color=FILL, marker="o", markersize=2.6, linewidth=1.3)
        axes.set_title(name.replace("_", " "), loc="left", fontsize=8, pad=3)
        if _is(chosen.get(axis)):
            axes.axvline(chosen[axis], color=SECOND, linewidth=1, linestyle="--")
        if min(at) > 0 and max(at) / min(at) >= 10**FEW and axis not in ("", "epoch", "step"):
            axes.set_xscale("log")
    all_axes[-1].set_xlabel(axis.replace("_", " ") or "row")
    return _svg(figure, "history")


def _is(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def confusion(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> str:
    """A confusion matrix in shares of its rows."""
    import numpy as np
    from matplotlib.colors import LinearSegmentedColormap

    counts = np.array(matrix, float)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure, [axes] = _figure(WIDTH)
    shades = LinearSegmentedColormap.from_list("paper", ["#ffffff", "#1f6f8b"])
    axes.pcolormesh(share, cmap=shades, vmin=0, vmax=100)
    for i, j in np.ndindex(*share.shape):
        if len(names) <= 12 and share[i, j] >= 0.5:
            colour = "#ffffff" if share[i, j] > 55 else INK
            axes.text(j + 0.5, i + 0.5, f"{share[i, j]:.0f}", ha="center", va="center",
                      fontsize=6.5, color=colour)  # fmt: skip
    at = np.arange(len(names)) + 0.5
    axes.set_xticks(at, [_short(name) for name in names], rotation=90)
    axes.set_yticks(at, [_short(name) for name in names])
    axes.invert_yaxis()
    axes.set_xlabel("said")
    axes.set_ylabel("true; cells in % of a row")
    return _svg(figure, "confusion")


def _figure(height: float, rows: int = 1) -> tuple[Any, list[Any]]:
    """A figure and its axes, one below the other."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "font.family": "sans-serif", "text.color": INK}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        every = list(figure.subplots(rows, 1, squeeze=False)[:, 0])
    for axes in every:
        _plain(axes)
    return figure, every


def _plain(axes: Any) -> None:
    axes.patch.set_alpha(0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(LINE)
    axes.tick_params(colors=INK, labelsize=7.5, length=2, color=LINE)
    axes.xaxis.label.set(color=INK, size=8)
    axes.yaxis.label.set(color=INK, size=8)


def _svg(figure: Any, name: str) -> str:
    """Deterministic; its names begin with `name`, so that several go on one page."""
    from matplotlib import rc_context

    file = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.patch.set_alpha(0)
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r'\bid="', f'id="{name}-', text)
    return re.sub(r'(url\(|href=")#', rf"\1#{name}-", text)
