"""``python -m ssl4eo_train``."""

import sys
from collections.abc import Sequence
from pathlib import Path

from fastload import DataError
from ssl4eo_train import checkpoint, distributed
from ssl4eo_train.command import parser
from ssl4eo_train.config import resolve
from ssl4eo_train.errors import SetupError
from ssl4eo_train.train import train


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status.

    That is 0; 1 after data that cannot be read or a loss that is not finite; 2 where the run cannot
    start; 130 after Ctrl-C, 143 after SIGTERM.
    """
    given = vars(parser().parse_args(argv))
    world = distributed.environment()
    try:
        saved = None
        if given.get("resume"):
            if "out" not in given:
                raise SetupError("--resume: --out must name the folder of the run to continue")
            saved = checkpoint.load(Path(given["out"]))
        return train(resolve(given, saved, world), saved, world)
    except SetupError as error:
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 2
    except (DataError, FloatingPointError) as error:
        print(f"ssl4eo_train: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("ssl4eo_train: stopped at once; nothing more was saved", file=sys.stderr)
        return 130
    finally:
        distributed.stop()


if __name__ == "__main__":
    sys.exit(main())
