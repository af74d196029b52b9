"""``python -m ssl4eo_train``, and ``ssl4eo-train`` where it is installed."""

import sys
from collections.abc import Sequence

from ssl4eo_train import __version__
from ssl4eo_train.extras import lacking


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, see `ssl4eo_train.command.run`."""
    if list(sys.argv[1:] if argv is None else argv) == ["--version"]:
        print(f"ssl4eo-train {__version__}")
        return 0
    if error := lacking("training"):
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 2
    from ssl4eo_train.command import run  # Here, since it takes seconds.

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
