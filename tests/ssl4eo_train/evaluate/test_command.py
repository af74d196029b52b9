"""The command from end to end on a tiny EuroSAT: what it leaves, and what it refuses."""

import json
import re
import shlex
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import result
from ssl4eo_train.evaluate.__main__ import main
from ssl4eo_train.evaluate.command import parser
from ssl4eo_train.evaluate.protocols import PROTOCOLS, knn
from ssl4eo_train.evaluate.result import FIELDS
from ssl4eo_train.evaluate.table import main as table
from ssl4eo_train.evaluate.tasks import TASKS
from tests.fastload.made import REPOSITORY
from tests.ssl4eo_train.evaluate import made

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module", autouse=True)
def offline() -> Iterator[None]:
    """Nobody is asked for anything."""

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the network was asked")

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.tree(tmp_path_factory.mktemp("eurosat") / "data")


@pytest.fixture(scope="module")
def out(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated") / "out"
    assert made.run(data, folder, "--set", "batch=4") == 0
    return folder


def test_what_it_leaves(out: Path) -> None:
    found = result.read(out)
    assert list(found) == list(FIELDS)
    matrix = np.array(found["confusion"])
    assert matrix.sum() == found["splits"]["test"] == 6
    assert found["numbers"]["accuracy"]["value"] == np.trace(matrix) / 6
    assert found["splits"] == {"train": 12, "val": 6, "test": 6}
    assert found["support"][:1] == [2]
    assert found["bootstrap"]["resamples"] == 1000
    assert list(found["by_batch"]) == ["accuracy_by_batch", "accuracy_by_batch_all"]
    assert found["settings"]["batch"] == 4
    assert found["config"]["bands"] == ["R", "G", "B"]
    assert found["versions"]["torch"]
    assert found["seconds"] > 0
    assert not list(out.rglob("*.part"))
    assert {path.name for path in out.iterdir()} >= {"result.json", "report.html", "charts"}
    for chart in ("classes", "confusion"):
        assert (out / "charts" / f"{chart}.svg").read_text().startswith("<svg")


def test_it_prints_the_number(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where its folder is another's that may be overwritten."""
    made.run(data, tmp_path)
    capsys.readouterr()
    assert made.run(data, tmp_path) == 2
    assert "another evaluation's result.json lies there" in capsys.readouterr().err
    assert made.run(data, tmp_path, "--overwrite", "--seed", "5") == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"eurosat_rgb knn accuracy \d+\.\d\d \(\d+\.\d\d to \d+\.\d\d\) %", said)
    assert result.read(tmp_path)["seed"] == 5


def test_the_same_again(data: Path, out: Path, tmp_path: Path) -> None:
    assert made.run(data, tmp_path / "again", "--set", "batch=4") == 0
    first, again = (result.read(folder) for folder in (out, tmp_path / "again"))
    for found in (first, again):
        del found["seconds"], found["config"]["out"]
    assert first == again
    pages = [(folder / "charts/classes.svg").read_bytes() for folder in (out, tmp_path / "again")]
    assert pages[0] == pages[1]


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--set", "neighbors=3"], 2, "there is no 'neighbors'; the nearest name is 'neighbours'"),
        (["--set", "neighbours=0"], 2, "neighbours"),
        (["--bands", "R", "G", "B12"], 2, "the backbone wants S2RGB B12"),
        (["--arch", "resnet_of_nobody"], 2, "resnet_of_nobody"),
    ],
)
def test_words_that_do_not_fit(
    data: Path, tmp_path: Path, words: list[str], status: int, sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert made.run(data, tmp_path / "out", *words) == status
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out/result.json").exists()


def test_a_protocol_of_another_kind(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(knn, "KINDS", ("segment",))
    assert made.run(data, tmp_path / "out") == 2
    assert "is for tasks of segment; eurosat_rgb is one of class" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_data_that_are_not_there(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made.run(tmp_path / "nowhere", tmp_path / "out") == 1
    assert "nowhere" in capsys.readouterr().err
    copy = shutil.copytree(data, tmp_path / "copy")
    (copy / "eurosat-test.txt").unlink()
    assert made.run(copy, tmp_path / "out") == 1
    assert "there is no list of split 'test'" in capsys.readouterr().err


def test_an_image_that_is_broken(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(data, tmp_path / "copy")
    (copy / "2750/Forest/Forest_1.jpg").write_bytes(b"no image")
    assert made.run(copy, tmp_path / "out") == 1
    assert "Forest_1.jpg" in capsys.readouterr().err


def test_a_checkpoint_that_is_broken(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "checkpoint.pt"
    broken.write_bytes(b"PK\x03\x04 no weights")
    for path in (broken, tmp_path / "none.pt"):
        assert made.run(data, tmp_path / "out", backbone=["--checkpoint", str(path)]) == 2
        assert str(path) in capsys.readouterr().err


def test_a_place_that_is_a_file(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert made.run(data, data / "eurosat-test.txt") == 2
    assert "is a file, expected a folder or nothing" in capsys.readouterr().err


# --- reading it again


@pytest.mark.parametrize("name", FIELDS)
def test_a_field_that_is_missing_or_wrong(out: Path, tmp_path: Path, name: str) -> None:
    content = json.loads((out / "result.json").read_text())
    for broken in ({k: v for k, v in content.items() if k != name}, {**content, name: True}):
        (tmp_path / "result.json").write_text(json.dumps(broken))
        with pytest.raises(SetupError, match=rf"result.json: {name}: "):
            result.read(tmp_path)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "there is no such file; an evaluation writes it"),
        ("{", "cannot be read as JSON"),
        ("[]", "expected an object, found list"),
        ('{"format": 2}', "format: expected 1, found 2"),
    ],
)
def test_what_is_no_result(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "result.json").write_text(text)
    with pytest.raises(SetupError, match=sentence):
        result.read(tmp_path)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"metric": "miou"}, "metric: expected one of accuracy, accuracy_per_class, f1_macro"),
        ({"numbers": {"accuracy": {"value": 93.0, "low": None, "high": None}}}, "numbers.accuracy"),
        ({"numbers": {"accuracy": 0.9}}, "numbers.accuracy: expected value, low and high"),
    ],
)
def test_numbers_that_are_none(
    out: Path, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:
    content = {**json.loads((out / "result.json").read_text()), **change}
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(SetupError, match=sentence):
        result.read(tmp_path)


def test_numbers_that_json_lacks(tmp_path: Path) -> None:
    """A loss that diverged is null, NumPy's numbers are numbers."""
    plain = result._plain({"loss": [float("nan"), np.float32(0.5), Path("a")], "n": np.int64(3)})
    assert plain == {"loss": [None, 0.5, "a"], "n": 3}


def test_the_page_of_the_documentation_has_all_fields() -> None:
    text = (REPOSITORY / "docs/evaluation.md").read_text()
    assert [name for name in FIELDS if f"`{name}`" not in text] == []


def _commands(page: str) -> list[list[str]]:
    """What a page runs of the evaluation, in its order."""
    text = (REPOSITORY / page).read_text().replace("\\\n", " ")
    lines = re.findall(
        r"^    python -m (ssl4eo_train\.evaluate(?:\.table)? .*)$", text, re.MULTILINE
    )
    return [shlex.split(line) for line in lines]


@pytest.mark.slow
def test_the_readmes_commands(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As they stand, but for the place of the data and a smaller network."""
    monkeypatch.chdir(tmp_path)
    [evaluate, show] = _commands("README.md")
    words = [str(data) if word == "/data/eurosat" else word for word in evaluate[1:]]
    small = ["--arch", "test_resnet", "--image-size", "32", "--workers", "1", "--device", "cpu"]
    assert main([*words, *small]) == 0
    assert table([*show[1:]]) == 0
    assert "| untrained, seed 0 | test\\_resnet | RGB |" in capsys.readouterr().out
    assert (tmp_path / "results/untrained/report.html").exists()


def test_the_documentations_commands_are_understood() -> None:
    for [program, *words] in _commands("docs/evaluation.md"):
        if program == "ssl4eo_train.evaluate":
            parsed = parser().parse_args(words)
            assert parsed.task in TASKS
            assert parsed.protocol in PROTOCOLS
        else:
            assert [word for word in words if word[:2] == "--"] in ([], ["--latex", "--unverified"])
