"""What the command line says by itself."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from ssl4eo_train import help_method
from ssl4eo_train.__main__ import main
from ssl4eo_train.methods import METHODS

pytestmark = pytest.mark.timeout(300)
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("method", METHODS)
def test_the_options_of_a_method_are_listed(
    method: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with its type, its default and a line of documentation."""
    with pytest.raises(SystemExit) as end:
        main(["--help-method", method])
    assert not end.value.code
    printed = capsys.readouterr().out
    kind = METHODS[method].Options
    said = help_method.documentation(kind)
    for field in dataclasses.fields(kind):
        assert f"  {field.name} (" in printed
        assert f"default {field.default!r})" in printed
        assert said.get(field.name), f"{field.name} of {method} has no documentation"
        assert said[field.name].split()[0] in printed


def test_the_help_names_methods_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert help_method.text("moco_v2").splitlines()[:3] == [
        "Options of moco_v2, to be set by --set NAME=VALUE:",
        "  queue (int, default 65536)",
        "      Keys that are remembered.",
    ]
    with pytest.raises(SystemExit) as end:
        main(["--help-method", "moco"])
    assert end.value.code == 2
    assert "moco_v2" in capsys.readouterr().err


def python(program: str) -> "subprocess.CompletedProcess[str]":
    absent = "import sys; sys.modules.update(timm=None, yaml=None, safetensors=None, "
    line = [sys.executable, "-c", absent + "tensorboard=None); " + program]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def test_without_the_extra_every_module_loads_and_commands_say_what_lacks() -> None:
    done = python(
        "import pkgutil, runpy, ssl4eo_train\n"
        "for m in pkgutil.walk_packages(ssl4eo_train.__path__, 'ssl4eo_train.'):\n"
        # The class of another program's model needs that program.
        "    if not m.name.endswith(('__main__', '.torchgeo_bench')): __import__(m.name)\n"
        "sys.argv[1:] = ['run', '--to', 'x.safetensors']\n"
        "for name in ('ssl4eo_train.knn', 'ssl4eo_train.export'):\n"
        "    sys.modules.pop(name)\n"
        "    runpy.run_module(name, run_name='__main__')\n"
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "ssl4eo_train.export: the export needs safetensors, TensorBoard, timm, PyYAML: "
        "pip install 'fastload-eo[train]'\n"
    )
