"""``python -m fastload index ROOT``."""

import argparse
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from fastload.storage.index import open_index
from fastload.storage.store import Local

HELP = "build or refresh the index of every folder of shards below ROOT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="dataset, split or modality folder")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")


def run(args: argparse.Namespace) -> int:
    """Index every folder that holds tars; processes scan them in parallel."""
    folders = sorted({tar.parent for tar in args.root.rglob("*.tar")})
    if not folders:
        raise FileNotFoundError(f"{args.root}: expected shards named *.tar below it, found none")
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(args.workers, mp_context=spawn) as pool:
        for folder in folders:
            index = open_index(Local(folder), pool, progress=True)
            print(f"{folder}: {len(index)} samples in {len(index.shards)} shards")
    return 0
