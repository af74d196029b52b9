"""The wheel and the sdist: what is in them, and that they work where they are installed."""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

import fastload

ROOT = Path(__file__).parents[2]
SMOKE = Path(__file__).with_name("smoke.py")
FOLDERS = {
    "fastload": ROOT / "fastload",
    "fastload_kernels": ROOT / "kernels/fastload_kernels",
    "ssl4eo_train": ROOT / "ssl4eo_train",
}
HUGGING_FACE = "kernels==0.17.2"
"""A package whose name must stay its own."""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def uv() -> str:
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        pytest.skip("needs uv")
    return found


@pytest.fixture(scope="module")
def built(uv: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist, the wheel that is built from it, and the wheel built from the work tree."""
    folder = tmp_path_factory.mktemp("built")
    call(uv, "build", "--out-dir", folder / "dist", ROOT)
    call(uv, "build", "--wheel", "--out-dir", folder / "direct", ROOT)
    [sdist], [wheel] = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    [direct] = (folder / "direct").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel, "direct": direct}


def call(*command: str | Path, cwd: Path | None = None) -> str:
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name not in own},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def content(wheel: Path) -> dict[str, str]:
    """Digests by name."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


def about(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def test_the_wheel_holds_the_packages_and_nothing_else(built):
    expected = {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in FOLDERS.items()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in content(built["wheel"]) if ".dist-info/" not in name}
    assert names == expected
    for package in FOLDERS:
        assert f"{package}/py.typed" in names
    for suffix in (".cu", ".cuh", ".yaml"):
        assert any(name.endswith(suffix) for name in names), suffix


def test_the_sdist_builds_the_same_wheel(built):
    assert content(built["wheel"]) == content(built["direct"])


def test_the_sdist_holds_the_sources_and_nothing_that_git_ignores(built):
    with tarfile.open(built["sdist"]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "tests/packaging/test_wheel.py"} <= names
    assert "kernels/fastload_kernels/cuda/view.cu" in names
    assert not [n for n in names if n.startswith((".venv", "uv.lock")) or "__pycache__" in n]


def test_the_metadata(built):
    metadata = about(built["wheel"])
    assert (metadata["Name"], metadata["Version"]) == ("fastload-eo", fastload.__version__)
    users = {"train", "evaluate", "labels", "rasters", "images", "tools", "dask", "remote"}
    assert set(metadata.get_all("Provides-Extra")) == {"cuda13", "gather", *users}
    requires = [r for r in metadata.get_all("Requires-Dist") if "cuda13" in r]
    assert len(requires) == 3
    for requirement in requires:
        assert "sys_platform == 'linux'" in requirement
        assert "platform_machine" not in requirement


@pytest.fixture
def fresh(uv, tmp_path) -> Path:
    """The interpreter of a virtual environment that finds what is installed here, after its own.

    The added folder's own .pth files, and so an editable install in it, have no effect there.
    """
    call(uv, "venv", "--python", sys.executable, tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = Path(call(python, "-c", query).strip())
    here = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    (own / "others.pth").write_text("\n".join(here) + "\n")
    return python


def digests(python: Path, package: str) -> dict[str, str]:
    """Of the files of an installed package."""
    query = "import sysconfig; print(sysconfig.get_path('purelib'))"
    folder = Path(call(python, "-c", query).strip()) / package
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.long
@pytest.mark.timeout(900)
def test_installed_beside_hugging_face_kernels(uv, built, fresh, tmp_path):
    """In both orders, in one environment; the same files then need one smoke test."""

    def pip(action: str, *words: str | Path) -> None:
        call(uv, "pip", action, "--python", fresh, *words, cwd=tmp_path)

    pip("install", "--no-deps", HUGGING_FACE)
    theirs = digests(fresh, "kernels")
    assert "__init__.py" in theirs
    pip("install", "--no-deps", built["wheel"])
    assert digests(fresh, "kernels") == theirs
    ours = {package: digests(fresh, package) for package in FOLDERS}
    said = call(fresh, "-P", SMOKE, tmp_path, cwd=tmp_path)
    assert f"beside {HUGGING_FACE.replace('==', ' ')}" in said

    pip("uninstall", "kernels")
    assert digests(fresh, "kernels") == {}
    pip("install", "--no-deps", HUGGING_FACE)
    assert digests(fresh, "kernels") == theirs
    assert {package: digests(fresh, package) for package in FOLDERS} == ours
    call(fresh, "-c", "import fastload, kernels; assert kernels.get_kernel", cwd=tmp_path)

    pip("uninstall", "fastload-eo")
    assert digests(fresh, "kernels") == theirs
    assert not any(digests(fresh, package) for package in FOLDERS)
