"""``report.html``: one page of an evaluation, which needs no network, and charts beside it."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastload.inspect.html import facts, folded, page, soft, table
from fastload.storage.whole import write_whole
from ssl4eo_train.evaluate.numbers import literature
from ssl4eo_train.evaluate.numbers.number import percent
from ssl4eo_train.evaluate.outcome import Example
from ssl4eo_train.evaluate.pages import charts
from ssl4eo_train.evaluate.pages.report_examples import gallery

NAME = "report.html"
CHARTS = "charts"
"""Folder of the charts, as files."""
MOST_CELLS = 60
"""Classes up to which a confusion matrix is shown."""
Result = Mapping[str, Any]


def write(
    folder: Path, result: Result, examples: Sequence[Example], ignored: int | None = None
) -> None:
    """Put a result's page and charts into a folder.

    Args:
        folder: of the evaluation.
        result: what is in ``result.json``.
        examples: to look at.
        ignored: see `Task.ignored`.
    """
    drawn = charts.all_charts(result)
    (folder / CHARTS).mkdir(parents=True, exist_ok=True)
    for name, svg in drawn.items():
        write_whole(folder / CHARTS / f"{name}.svg", charts.coloured(svg, charts.PAPER))
    write_whole(folder / NAME, html(result, drawn, examples, ignored))


def html(
    result: Result,
    drawn: Mapping[str, str],
    examples: Sequence[Example],
    ignored: int | None = None,
) -> str:
    """The page."""
    parts = (
        _head(result),
        _beside(result),
        _numbers(result),
        _chosen(result, drawn),
        _classes(result, drawn),
        _confusion(result),
        gallery(result, examples, ignored),
        _told(result),
        _settings(result),
    )
    title = f"{result['task']} by {result['protocol']}"
    style = files("ssl4eo_train.evaluate.pages").joinpath("report.css").read_text(encoding="utf-8")
    return page(title, (text for part in parts for text in part), style)


def _head(result: Result) -> Iterator[str]:
    number, metric = result["numbers"][result["metric"]], result["metric"].replace("_", " ")
    yield f"<h1>{escape(result['task'])} by {escape(result['protocol'])}</h1>"
    yield soft(result["checkpoint"]["source"])
    value = "undefined" if number["value"] is None else f"{100 * number['value']:.2f} %"
    words = f"{metric} of {result['images']} images"
    if number["low"] is not None:
        words += f"; 95 % interval {100 * number['low']:.2f} to {100 * number['high']:.2f} %"
    yield f'<p class="headline"><strong>{value}</strong><span>{escape(words)}</span></p>'
    if result["fraction"] < 1:
        yield soft(f"Trained on {100 * result['fraction']:g} % of the labels.")


def _beside(result: Result) -> Iterator[str]:
    rows = literature.beside(result)
    more = len(literature.beside(result, unverified=True)) - len(rows)
    yield "<h2>Beside published figures</h2>"
    heads = ("pre-training", "%", "backbone", "input", "figure", "source")
    if rows:
        yield table("Published figures, and this one", heads, _quoted(result, rows), "words", 0)
        yield soft(
            "A figure of another split or kind than ours is no fair comparison; those by batch "
            "stand beside ours of the same name below."
        )
    else:
        yield soft("None of this task, protocol and share of labels was read in its source.")
    if more:
        yield soft(
            f"{more} more could not be verified: python -m ssl4eo_train.evaluate.table "
            "--unverified prints them."
        )


def _quoted(result: Result, rows: Sequence[literature.Quoted]) -> Iterator[tuple[str, ...]]:
    of = result["checkpoint"]
    value = result["numbers"][result["metric"]]["value"]
    shown = "undefined" if value is None else f"{100 * value:.2f}"
    yield (f"this: {literature.method_of(result)}", shown, of["arch"], literature.input_of(result),
           result["metric"], "here")  # fmt: skip
    for row in sorted(rows, key=lambda r: -r.number):
        alike = " (same method and backbone)" if literature.same(row, result) else ""
        yield (row.method + alike, f"{row.number:g}", row.arch, row.input, row.metric, row.remark)


def _numbers(result: Result) -> Iterator[str]:
    yield "<h2>Numbers</h2>"
    found = [(name.replace("_", " "), percent(n)) for name, n in result["numbers"].items()]
    how = result["bootstrap"]
    yield table("Numbers of the whole test split", ("over the test split", "95 % interval"), found)
    yield soft(
        f"Intervals: percentiles of {how['resamples']} bootstrap resamples of {how['of']}, "
        f"seed {how['seed']}."
    )
    if result["by_batch"]:
        rows = [(n.replace("_", " "), f"{100 * v:.2f} %") for n, v in result["by_batch"].items()]
        yield table("The papers' numbers by batch", ("as the papers take them", "value"), rows)
        yield soft(
            "By batch: the mean over full batches; all: over all batches, each by its images. They "
            "depend on the order and the size of batches."
        )


def _chosen(result: Result, drawn: Mapping[str, str]) -> Iterator[str]:
    if not result["chosen"] and "history" not in drawn:
        return
    yield "<h2>Chosen on the validation split</h2>"
    if result["chosen"]:
        yield f'<div class="cards">{facts("Chosen", result["chosen"])}</div>'
    if "history" in drawn:
        axis = charts.axis_of(result["history"], result["chosen"]) or "row"
        yield _chart(drawn["history"], f"History by {axis}; the table below has its numbers")
        names = list(dict.fromkeys(name for row in result["history"] for name in row))
        rows = [[_cell(row.get(name)) for name in names] for row in result["history"]]
        yield folded("history as a table", table("History", names, rows))


def _cell(value: Any) -> str:
    return f"{value:.5g}" if isinstance(value, (int, float)) else "-"


def _chart(svg: str, alt: str) -> str:
    shown = charts.coloured(svg, charts.PAGE).replace(
        "<svg ", f'<svg role="img" aria-label="{escape(alt)}" ', 1
    )
    return f'<div class="chart">{shown}</div>'


def _classes(result: Result, drawn: Mapping[str, str]) -> Iterator[str]:
    figure = charts.PRIMARY[result["kind"]]
    yield "<h2>Classes</h2>"
    yield _chart(drawn["classes"], f"{figure} of each class; the table below has its numbers")
    names = list(result["per_class"][0])
    unit = "pixels" if result["kind"] in ("segment", "change") else "images"
    rows = [
        (name, str(support), *(percent(row[n]) for n in names))
        for name, support, row in zip(
            result["classes"], result["support"], result["per_class"], strict=True
        )
    ]
    heads = ("class", f"test {unit}", *names)
    yield folded("classes as a table", table("Numbers of each class", heads, rows))


def _confusion(result: Result) -> Iterator[str]:
    matrix, names = result["confusion"], result["classes"]
    if not matrix:
        return
    yield "<h2>What is taken for what</h2>"
    if len(matrix) > MOST_CELLS:
        yield soft(f"{len(matrix)} classes are too many to show; result.json has the matrix.")
        return
    yield soft("Rows: what is true. Columns: what was said. In % of the row; empty below 0.05 %.")
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th>{_shares(row)}</tr>'
        for name, row in zip(names, matrix, strict=True)
    )
    yield (
        '<div class="scroll" tabindex="0" role="region" aria-label="Confusion matrix">'
        '<table class="confusion"><caption class="unseen">Confusion matrix</caption>'
        f'<thead><tr><th scope="col">true</th>{top}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _shares(row: Sequence[int]) -> str:
    total = max(1, sum(row))
    return "".join(_share(100 * count / total) for count in row)


def _share(share: float) -> str:
    shade = f"color-mix(in srgb, var(--dot) {0.6 * share:.0f}%, transparent)"
    return f'<td style="background:{shade}">{f"{share:.1f}" if share >= 0.05 else ""}</td>'


def _told(result: Result) -> Iterator[str]:
    yield "<h2>Splits and oddities</h2>"
    sizes = ", ".join(f"{count} {name}" for name, count in result["splits"].items())
    told = [f"Splits ({sizes}): {result['splits_told']}", *result["told"]]
    yield '<ul class="told">' + "".join(f"<li>{escape(one)}</li>" for one in told) + "</ul>"


def _settings(result: Result) -> Iterator[str]:
    yield '<h2>Settings</h2><div class="cards">'
    yield facts("Protocol", {"name": result["protocol"], **result["settings"]})
    checkpoint = {**result["checkpoint"]}
    checkpoint["channels"] = [f"{c['modality']} {c['band']}" for c in checkpoint["channels"]]
    yield facts("Checkpoint", checkpoint)
    task = {"name": result["task"], **result["task_options"], "bands read": result["bands"]}
    yield facts("Task", task)
    yield facts("Command", result["config"])
    ran = {name: result[name] for name in ("seed", "device", "commit", "version", "seconds")}
    yield facts("Run", {**ran, **result["versions"]})
    yield "</div>"
