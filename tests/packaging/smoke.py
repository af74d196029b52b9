"""What an installed fastload-eo must do away from its sources: ``python -P smoke.py FOLDER``.

Run it with the interpreter that the package is installed for. The folder is for what it makes. The
extra `train` need not be there.
"""

import importlib
import subprocess
import sys
import sysconfig
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("fastload", "fastload_kernels", "ssl4eo_train")


def main(folder: Path) -> None:
    """Import the packages, run both scripts, make a dataset and load it."""
    installed = Path(sysconfig.get_path("purelib"))
    for name in PACKAGES:
        assert Path(importlib.import_module(name).__file__).parent == installed / name
    import fastload

    version = metadata.version("fastload-eo")
    assert fastload.__version__ == version
    assert script("fastload", "--version") == f"fastload {version}\n"
    assert script("ssl4eo-train", "--version") == f"ssl4eo-train {version}\n"
    script("ssl4eo-train", "--resume", status=2)
    made = str(folder / "made")
    script("fastload", "synth", made, "--locations", "4", "--samples-per-shard", "2", "--size",
           "32", "--timestamps", "2", "--modalities", "S2L1C", "--quiet")  # fmt: skip
    view = fastload.View(size=16, scale=(0.2, 1), hflip=0.5, blur=0.5)
    recipe = fastload.Recipe(views=(view, view), radiometry=fastload.Radiometry.reflectance())
    dataset = fastload.SSL4EOS12(made, modalities=["S2L1C"], recipe=recipe, progress=False)
    loader = fastload.DataLoader(dataset, batch_size=2, shuffle=True, num_workers=1)
    shapes = [tuple(view.shape) for batch in loader for view in batch["S2L1C"]]
    assert shapes == [(2, 13, 16, 16)] * 4, shapes
    beside = "alone" if find_spec("kernels") is None else f"beside {kernels()}"
    print(f"fastload-eo {version} on Python {sys.version.split()[0]}, {beside}: all is well")


def script(name: str, *arguments: str, status: int = 0) -> str:
    """Run a console script; returns what it prints."""
    command = [str(Path(sysconfig.get_path("scripts")) / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def kernels() -> str:
    """Import Hugging Face's package of that name; returns which it is."""
    found = importlib.import_module("kernels")
    assert callable(found.get_kernel)
    return f"kernels {metadata.version('kernels')}"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
