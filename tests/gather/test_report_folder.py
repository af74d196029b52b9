"""Reports on what lies in a folder, by the command line; and the documentation's commands."""

import json
import shlex
from collections import Counter
from pathlib import Path

import pytest

from fastload.cli import main, parser_of_all
from fastload.gather.fetch import claim
from fastload.gather.fetch.fetch import identity
from fastload.gather.plan import plan_file
from fastload.gather.plan.plan import Plan, make
from fastload.gather.plan.settings import Settings
from fastload.synth import synth
from ssl4eo_train.command import parser
from tests.gather import fabricated

DOCS = Path(__file__).parents[2] / "docs/gathering.md"


@pytest.fixture(scope="module")
def plan() -> Plan:
    return make(Settings(law="uniform", locations=10, seed=3, candidates=2))


@pytest.fixture(scope="module")
def folder(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `fetch` leaves one."""
    root = tmp_path_factory.mktemp("gathered")
    synth(root, 8, modalities=fabricated.MODALITIES, size=32, samples_per_shard=4, workers=1)
    fabricated.manifest(root / "manifest.parquet", plan, fabricated.outcomes(plan))
    told = {"format": claim.FORMAT, "plan": identity(plan), "service": {"name": "made"}}
    (root / claim.FILE).write_text(json.dumps(told))
    return root


def test_a_folder_whose_plan_is_made_again(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gather", "report", str(folder), "--samples", "4", "--examples", "1"]) == 0
    said = capsys.readouterr().out
    figures = json.loads((folder / "report.json").read_text())
    assert figures["gathered"]["asked"] == 10
    assert figures["pixels"]["samples"] == 4
    assert figures["run"]["service"] == {"name": "made"}
    assert f"{figures['gathered']['whole']} whole" in said
    assert "windows promise one date in each local season to 10" in said
    assert "none shares ground with another, as is promised" in (folder / "report.html").read_text()


def test_a_plan_by_the_command_line(plan: Plan, tmp_path: Path) -> None:
    path, page = tmp_path / "plan.parquet", tmp_path / "page.html"
    plan_file.write(plan, path)
    assert main(["gather", "report", str(path), "--html", str(page)]) == 0
    assert json.loads((tmp_path / "page.json").read_text())["plan"]["overlaps"]["pairs"] == 0
    assert main(["gather", "report", str(path)]) == 0
    assert (tmp_path / "plan.report.html").read_text() == page.read_text()


def test_another_plan_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.parquet"
    plan_file.write(fabricated.plan(10), path)
    assert main(["gather", "report", str(folder), "--plan", str(path)]) == 1
    assert f"{path} is not the plan that it was gathered by" in capsys.readouterr().err
    assert main(["gather", "report", str(path), "--plan", str(path)]) == 1
    assert "expected a folder that `fetch` wrote beside a plan" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "expected a folder that `fetch` wrote"),
        ("{", "is not JSON"),
        ('{"format": "other"}', "expected format"),
        ("[]", "expected format"),
        (json.dumps({"format": claim.FORMAT, "plan": {"manifest": "x"}}), "--plan PLAN.parquet"),
    ],
)
def test_folders_that_were_not_gathered(
    content: str | None, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / claim.FILE).write_text(content)
    assert main(["gather", "report", str(tmp_path)]) == 1
    assert sentence in capsys.readouterr().err


# --- the documentation


def commands() -> list[list[str]]:
    """Words of each command after ``python -m``."""
    text = DOCS.read_text().replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("python -m ")]


def test_the_documentations_commands_are_understood() -> None:
    parts = set()
    for program, *words in commands():
        if program == "fastload":
            parts.add(parser_of_all().parse_args(words).command)
        else:
            assert program == "ssl4eo_train"
            assert parser().parse_args(words).method == "moco_v2"
    assert parts == {"gather", "verify"}


@pytest.mark.slow
def test_the_documentations_local_commands(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they stand, but for the number of locations and the place of the data."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "centres.csv").write_text("lon,lat\n10.5,50.25\n-70.125,-33\n")
    done = []
    for program, *words in commands():
        if program != "fastload" or words[:2] == ["gather", "fetch"]:
            continue
        shown = [{"1000": "20", "/data/mine": str(folder)}.get(word, word) for word in words]
        assert main(shown) in ((0, 1) if words[0] == "verify" else (0,)), shown
        done.append(" ".join(words[:2]))
    assert done.count("gather plan") == 2
    assert done.count("gather report") == 2
    assert (tmp_path / "plan.report.html").exists()


def test_the_documentations_query(
    folder: Path, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb", reason="needs duckdb")
    monkeypatch.chdir(folder)
    query = DOCS.read_text().partition("```sql\n")[2].partition("```")[0]
    found = dict(duckdb.sql(query).fetchall())
    assert found == Counter(f["reason"] for o in fabricated.outcomes(plan) for f in o.failed)
