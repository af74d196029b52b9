"""``python -m ssl4eo_train.evaluate``: downstream numbers of a checkpoint."""

import sys
from collections.abc import Sequence

from ssl4eo_train.extras import lacking


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, see `command.run`."""
    if error := lacking("the evaluation", "evaluate"):
        print(f"ssl4eo_train.evaluate: {error}", file=sys.stderr)
        return 2
    from ssl4eo_train.evaluate.command import run  # Here, since it takes seconds.

    return run(argv)


if __name__ == "__main__":
    sys.exit(main())
