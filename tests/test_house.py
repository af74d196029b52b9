"""The house rules that a tool can check."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "fastload_kernels": set(),
    "fastload": {"fastload_kernels"},
    "ssl4eo_train": {"fastload_kernels", "fastload"},
}
FOLDERS = {"fastload_kernels": "kernels/fastload_kernels"}


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        [
            "mypy",
            "-p",
            "fastload_kernels",
            "-p",
            "fastload",
            "-p",
            "ssl4eo_train",
            "-p",
            "benchmarks",
        ],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_linters(command):
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_run_one_way(package):
    allowed = PACKAGES[package] | {package}
    for path in (ROOT / FOLDERS.get(package, package)).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                assert top not in PACKAGES or top in allowed, f"{path} imports {name}"
                assert top not in ("benchmarks", "tests"), f"{path} imports {name}"


def test_the_readme_names_what_is_there():
    readme = (ROOT / "README.md").read_text()
    kernels = [f"kernels/fastload_kernels/{name}.py" for name in ("view", "reference", "cpu")]
    for name in ("fastload/datasets/", "fastload/storage/", "fastload/engines/", *kernels,
                 "ssl4eo_train/methods/", "benchmarks/peers/"):  # fmt: skip
        assert name in readme
        assert (ROOT / name).exists(), name


def pages() -> dict[Path, str]:
    """What users read: the sources, whose messages they see, and the documentation."""
    folders = (*(FOLDERS.get(package, package) for package in PACKAGES), "benchmarks", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*")]
    texts = [path for path in (*paths, *ROOT.glob("*.md")) if path.suffix in (".py", ".md")]
    return {path: path.read_text() for path in texts}


def test_nobody_is_told_to_install_what_is_not_ours():
    """On the package index, `fastload` is a stranger's."""
    theirs = re.compile(
        r"""(pip install|uv add|pipx install|uvx)([\s"']+-\S+)*[\s"']+fastload(?!-eo)"""
    )
    assert [str(path) for path, text in pages().items() if theirs.search(text)] == []


def test_extras_that_are_named_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for path, text in pages().items():
        named = set(re.findall(r"--extra (\w+)", text))
        for several in re.findall(r"fastload-eo\[([\w,]+)\]", text):
            named |= set(several.split(","))
        named |= set(re.findall(r"""\bmissing\([^()]*?, "(\w+)"[,)]""", text))
        assert named <= set(project["optional-dependencies"]), path
