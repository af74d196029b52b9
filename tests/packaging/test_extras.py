"""What the program says about optional libraries, and its version."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import fastload
import ssl4eo_train
from fastload import cli
from fastload.extras import missing
from ssl4eo_train.__main__ import main
from ssl4eo_train.extras import TRAIN

ROOT = Path(__file__).parents[2]


def test_a_missing_library_gets_a_sentence():
    error = missing("engine='dali' needs NVIDIA DALI", "cuda13", "choose engine='threads'")
    assert isinstance(error, ImportError)
    assert str(error) == (
        "engine='dali' needs NVIDIA DALI: pip install 'fastload-eo[cuda13]', "
        "or choose engine='threads'"
    )
    assert str(missing("this needs that", "train")).endswith(": pip install 'fastload-eo[train]'")


def test_training_without_the_extra():
    program = (
        "import sys; sys.modules.update(timm=None, yaml=None); "
        "from ssl4eo_train.__main__ import main; print(main(['--version']), main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stderr == (
        "ssl4eo_train: training needs timm, PyYAML: pip install 'fastload-eo[train]'\n"
    )
    assert done.stdout == f"ssl4eo-train {fastload.__version__}\n0 2\n"


def test_what_training_needs_is_what_the_extra_brings():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {line.split(">")[0] for line in project["optional-dependencies"]["train"]}
    assert names == {label.lower() for label in TRAIN.values()}


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert not end.value.code
    assert main(["--version"]) == 0
    version = fastload.__version__
    assert capsys.readouterr().out == f"fastload {version}\nssl4eo-train {version}\n"
    assert ssl4eo_train.__version__ == version


def test_version_beside_other_options(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--method", "mae", "--version"])
    assert not end.value.code
    assert capsys.readouterr().out == f"ssl4eo-train {fastload.__version__}\n"
