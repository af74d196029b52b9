"""Tables beside published figures: what is in them, and that Markdown and LaTeX can be read."""

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ssl4eo_train.evaluate.numbers.literature import beside, quoted
from ssl4eo_train.evaluate.numbers.metrics import NUMBERS
from ssl4eo_train.evaluate.table import latex_escaped, main, markdown_escaped
from tests.ssl4eo_train.evaluate import results

BY_BATCH = {
    "class": ("accuracy",), "labels": ("map_micro",), "segment": (),
    "change": ("f1", "precision", "recall"),
}  # fmt: skip


def written(folder: Path, kind: str, **changes: Any) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps(results.made(kind, **changes)))
    return str(folder)


def rows(markdown: str) -> list[list[str]]:
    """Cells of the lines of all tables; escaped bars are in cells."""
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = written(tmp_path / "a|b", "labels", protocol="finetune")
    second = written(tmp_path / "c", "labels", protocol="finetune", seed=1)
    third = written(tmp_path / "d", "class")
    assert main([first, second, third]) == 0
    said = capsys.readouterr().out
    assert said.count("### ") == 2
    found = rows(said)
    heads = found[0]
    assert heads[:4] == ["method", "backbone", "input", "map micro %"]
    by_batch = heads.index("map micro by batch %")
    [moco] = [row for row in found if row[:3] == ["moco\\_v2", "resnet50", "13 bands"]]
    assert moco[by_batch].strip("*") == "91.8"
    assert moco[3] == ""
    own = [row for row in found if row[0].startswith("moco\\_v2, seed") and row[2] == "1 band"]
    assert [row[0] for row in own] == [
        "moco\\_v2, seed 0",
        "moco\\_v2, seed 1",
        "moco\\_v2, seed 0",
    ]
    content = results.made("labels")
    number = content["numbers"]["map_micro"]
    low, high = 100 * number["low"], 100 * number["high"]
    assert f"{100 * number['value']:.2f} ({low:.2f} to {high:.2f})" in own[0][3]
    assert "a\\|b" in said
    assert "†" not in said


def test_the_best_of_a_column_is_bold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for i, value in enumerate((0.5, 0.90001, 0.9)):
        content = results.made("class", by_batch={})
        content["numbers"]["accuracy"] = {"value": value, "low": None, "high": None}
        folders.append(written(tmp_path / str(i), "class", by_batch={}, numbers=content["numbers"]))
    main(folders)
    assert [row[3] for row in rows(capsys.readouterr().out)][2:] == [
        "50.00",
        "**90.00**",
        "**90.00**",
    ]
    main(folders[:1])
    assert [row[3] for row in rows(capsys.readouterr().out)][2:] == ["50.00"]


def test_unverified_figures_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path, "segment", protocol="segment")
    main([folder])
    assert "54.68" not in capsys.readouterr().out
    main([folder, "--unverified"])
    said = capsys.readouterr().out
    assert "54.68†" in said
    assert "† at second hand." in said
    assert "that it is mIoU is a guess" in said
    levir = written(tmp_path / "l", "change", protocol="change", task="levir_cd")
    main([levir, "--unverified"])
    assert "90.14‡" in capsys.readouterr().out


def test_a_published_run_stands_beside_what_it_does_again() -> None:
    again = results.made(
        "labels", protocol="published", settings={"mode": "linear", "head": "finetune"}
    )
    assert {row.protocol for row in beside(again, unverified=True)} == {"linear"}
    change = results.made("change", protocol="published", settings={})
    assert 29 in [row.number for row in beside(change)]
    assert beside(results.made("class", protocol="knn")) == []


def test_what_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert f"{tmp_path}/result.json: there is no such file" in capsys.readouterr().err


def test_published_figures_are_ours_by_name() -> None:
    """Each is a figure that we take, has a source, and stands there once."""
    known = {name for names in NUMBERS.values() for name in names}
    for names in BY_BATCH.values():
        known |= {f"{name}_by_batch{end}" for name in names for end in ("", "_all")}
    for row in quoted():
        assert row.metric in known
        assert row.status in ("read", "secondary", "unverified")
        assert 0 < row.number < 100
        assert row.source
        assert row.split
        assert row.protocol in ("linear", "finetune", "segment", "change")
    of = [(r.task, r.protocol, r.method, r.arch, r.fraction, r.split, r.input) for r in quoted()]
    assert max(Counter(of).values()) == 1


# --- LaTeX

SPECIAL = set("&%$#_{}~^\\")


def parsed(text: str) -> list[list[str]]:
    """The rows of a tabular, by a reader that knows no more than what LaTeX allows in text: every
    special letter is escaped, braces are balanced, each row has as many cells as the tabular."""
    text = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    columns, body, rest = re.fullmatch(
        r"\s*\\begin\{tabular\}\{([lr]+)\}(.*)\\end\{tabular\}(.*)", text, re.DOTALL
    ).groups()  # type: ignore[union-attr]
    assert words_of(rest.replace("{\\footnotesize", "{"))
    lines = [line for line in body.strip().split("\n") if line != r"\hline"]
    found = []
    for line in lines:
        assert line.endswith(r" \\")
        cells = re.split(r"(?<!\\)&", line[:-3])
        assert len(cells) == len(columns)
        found.append([words_of(cell).strip() for cell in cells])
    return found


def words_of(text: str) -> str:
    """What LaTeX prints."""
    depth, out, i = 0, "", 0
    commands = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "dag": "†",
                "ddag": "‡", "textbf": "", "textless": "<", "textgreater": ">", "textbar": "|",
                "dots": "…"}  # fmt: skip
    text = text.replace(r"$\to$", "→")
    while i < len(text):
        letter = text[i]
        if letter == "\\" and text[i + 1] in SPECIAL:
            out, i = out + text[i + 1], i + 2
        elif letter == "\\":
            name = re.match(r"[a-z]+", text[i + 1 :]).group()  # type: ignore[union-attr]
            out, i = out + commands[name], i + 1 + len(name)
        elif letter in "{}":
            depth, i = depth + (1 if letter == "{" else -1), i + 1
            assert depth >= 0
        else:
            assert letter not in SPECIAL, text[i:]
            out, i = out + letter, i + 1
    assert depth == 0
    return out


def test_latex_says_what_markdown_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = written(tmp_path / "50%_of{all}~&", "labels", protocol="finetune")
    main([folder, "--unverified"])
    markdown = [[re.sub(r"\\(.)", r"\1", c.replace("**", "")) for c in row] for row in
                rows(capsys.readouterr().out)]  # fmt: skip
    main([folder, "--unverified", "--latex"])
    text = capsys.readouterr().out
    assert parsed(text) == [markdown[0], *markdown[2:]]
    assert r"50\%\_of\{all\}\textasciitilde{}\&" in text


@pytest.mark.parametrize("text", ["a_b & 5 % of {x} ~ ^ \\ # $", "† ‡ … → <|>"])
def test_escapes(text: str) -> None:
    assert words_of(latex_escaped(text)) == text
    assert re.sub(r"\\(.)", r"\1", markdown_escaped(text)) == text


def test_latex_compiles(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tex = next((p for p in map(shutil.which, ("pdflatex", "tectonic")) if p), None)
    if tex is None:
        pytest.skip("needs pdflatex or tectonic")
    main([written(tmp_path / "a_b", "labels", protocol="finetune"), "--unverified", "--latex"])
    body = capsys.readouterr().out
    (tmp_path / "t.tex").write_text(
        "\\documentclass{article}\\begin{document}\n" + body + "\\end{document}\n"
    )
    options = ["-interaction=nonstopmode", "-halt-on-error"] if "pdflatex" in tex else []
    done = subprocess.run([tex, *options, "t.tex"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
