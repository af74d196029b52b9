"""``python -m ssl4eo_train``, and ``ssl4eo-train`` where it is installed."""

import sys
from collections.abc import Sequence
from importlib.util import find_spec

from fastload.extras import missing
from ssl4eo_train import __version__

TRAIN = {"safetensors": "safetensors", "tensorboard": "TensorBoard", "timm": "timm",
         "yaml": "PyYAML"}  # fmt: skip
"""What the extra `train` brings, by the name to import."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, see `ssl4eo_train.command.run`."""
    if list(sys.argv[1:] if argv is None else argv) == ["--version"]:
        print(f"ssl4eo-train {__version__}")
        return 0
    lacking = [label for name, label in TRAIN.items() if find_spec(name) is None]
    if lacking:
        error = missing(f"training needs {', '.join(lacking)}", "train")
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 2
    from ssl4eo_train.command import run  # Here, since it imports what may be lacking.

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
