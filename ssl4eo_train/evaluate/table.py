"""``python -m ssl4eo_train.evaluate.table DIR...``: results beside published figures, as a table.

One table for each task, protocol and share of labels; a column for each figure, since published
ones by batch are no figures of the split; the greatest of a column is bold.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import result
from ssl4eo_train.evaluate.numbers.literature import Quoted, beside, input_of, method_of

Result = Mapping[str, Any]
MARKS = {"read": "", "secondary": "†", "unverified": "‡"}
"""Behind a figure that is not verified."""
FOOT = {"†": "at second hand", "‡": "not verified"}


@dataclass(frozen=True)
class Row:
    """One line.

    Attributes:
        words: method, backbone, input.
        cells: by column the figure in %, and how it is printed.
        note: what stands under the table of it.
    """

    words: tuple[str, str, str]
    cells: dict[str, tuple[float, str]]
    note: str


@dataclass(frozen=True)
class Table:
    """Rows of one task, protocol and share of labels."""

    title: str
    columns: list[str]
    rows: list[Row]

    def best(self, column: str) -> float:
        """The greatest figure of a column, as it is printed; infinite where there is but one."""
        found = [round(row.cells[column][0], 2) for row in self.rows if column in row.cells]
        return max(found) if len(found) > 1 else math.inf


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 where a folder has no good result."""
    p = argparse.ArgumentParser(
        prog="python -m ssl4eo_train.evaluate.table",
        description="Results of evaluations beside published figures, as Markdown or LaTeX.",
    )
    p.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="--out of evaluations")
    p.add_argument("--latex", action="store_true", help="a tabular, which needs no package")
    p.add_argument(
        "--unverified",
        action="store_true",
        help="also published figures that were not read in their source, marked",
    )
    args = p.parse_args(argv)
    try:
        found = {folder: result.read(folder) for folder in args.folders}
    except SetupError as error:
        print(f"ssl4eo_train.evaluate.table: {error}", file=sys.stderr)
        return 2
    printed = latex if args.latex else markdown
    print("\n\n".join(printed(table) for table in tables(found, args.unverified)))
    return 0


def tables(found: Mapping[Path, Result], unverified: bool) -> Iterator[Table]:
    """All tables, in the order of the folders."""
    groups: dict[tuple[Any, ...], list[tuple[Path, Result]]] = {}
    for folder, of in found.items():
        groups.setdefault((of["task"], of["protocol"], of["fraction"]), []).append((folder, of))
    for (task, protocol, fraction), results in groups.items():
        lines = dict.fromkeys(row for _, of in results for row in beside(of, unverified))
        rows = [*map(_published, lines), *(_own(folder, of) for folder, of in results)]
        columns = list(dict.fromkeys(
            [of["metric"] for _, of in results] + [name for row in rows for name in row.cells]
        ))  # fmt: skip
        share = f", {100 * fraction:g} % of the labels" if fraction < 1 else ""
        yield Table(f"{task} by {protocol}{share}", columns, rows)


def _published(of: Quoted) -> Row:
    mark = MARKS[of.status]
    cells = {of.metric: (of.number, f"{of.number:g}{mark}")}
    return Row((of.method, of.arch, of.input), cells, f"{of.method} {of.arch}: {of.remark}")


def _own(folder: Path, of: Result) -> Row:
    number, checkpoint = of["numbers"][of["metric"]], of["checkpoint"]
    cells = {n: (100 * v, f"{100 * v:.2f}") for n, v in of["by_batch"].items()}
    if (value := number["value"]) is not None:
        words = f"{100 * value:.2f}"
        if number["low"] is not None:
            words += f" ({100 * number['low']:.2f} to {100 * number['high']:.2f})"
        cells[of["metric"]] = (100 * value, words)
    name = f"{method_of(of)}, seed {of['seed']}"
    note = f"{name} {checkpoint['arch']}: {folder}; split: {of['splits_told']}"
    return Row((name, checkpoint["arch"], input_of(of)), cells, note)


def _title(column: str) -> str:
    return f"{column.replace('_', ' ')} %"


def _lines(
    table: Table, escape: Callable[[str], str], bold: str
) -> Iterator[tuple[list[str], int]]:
    """Cells of each row, and the number of its note."""
    for i, row in enumerate(table.rows, 1):
        cells = []
        for column in table.columns:
            value, words = row.cells.get(column, (-1.0, ""))
            best = words and round(value, 2) == table.best(column)
            cells.append(bold.format(escape(words)) if best else escape(words))
        yield [*map(escape, row.words), *cells], i


def _notes(table: Table) -> Iterator[str]:
    printed = " ".join(words for row in table.rows for _, words in row.cells.values())
    yield "Bold: the greatest of a column. In brackets: the 95 % bootstrap interval."
    yield from (f"{mark} {what}." for mark, what in FOOT.items() if mark in printed)


def markdown(table: Table) -> str:
    """A table as Markdown."""
    heads = ["method", "backbone", "input", *map(_title, table.columns), "note"]
    body = [[*cells, str(i)] for cells, i in _lines(table, markdown_escaped, "**{}**")]
    aligned = ["---"] * 3 + ["---:"] * (len(table.columns) + 1)
    lines = [f"| {' | '.join(row)} |" for row in (heads, aligned, *body)]
    notes = [f"{i}. {markdown_escaped(row.note)}" for i, row in enumerate(table.rows, 1)]
    return "\n".join([f"### {markdown_escaped(table.title)}", "", *lines, "",
                      " ".join(_notes(table)), "", *notes])  # fmt: skip


def latex(table: Table) -> str:
    """A table as LaTeX: a tabular with its notes below it."""
    heads = ["method", "backbone", "input", *map(_title, table.columns), "note"]
    lines = [
        f"% {table.title}",
        rf"\begin{{tabular}}{{lll{'r' * (len(table.columns) + 1)}}}",
        r"\hline",
        " & ".join(map(latex_escaped, heads)) + r" \\",
        r"\hline",
    ]
    for cells, i in _lines(table, latex_escaped, r"\textbf{{{}}}"):
        lines.append(" & ".join([*cells, str(i)]) + r" \\")
    lines += [r"\hline", r"\end{tabular}", "", r"{\footnotesize"]
    lines += [latex_escaped(" ".join(_notes(table)))]
    lines += [rf"{i}: {latex_escaped(row.note)}." for i, row in enumerate(table.rows, 1)]
    return "\n".join([*lines, "}"])


_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "†": r"\dag{}",
    "‡": r"\ddag{}", "…": r"\dots{}", "→": r"$\to$",
}  # fmt: skip


def latex_escaped(text: str) -> str:
    """Text that LaTeX prints as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in " ".join(text.split()))


def markdown_escaped(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table, too."""
    words = " ".join(text.split())
    return "".join("\\" + letter if letter in "\\|*_`[]<>" else letter for letter in words)


if __name__ == "__main__":
    sys.exit(main())
