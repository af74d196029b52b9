"""Mutated files of `torch.save`, by seed: bytes, opcodes and zips; and what must hold of each.

``python -m tests.fastload.fuzz_torch SECONDS SEED`` runs until the time is over.
"""

import io
import pickletools
import random
import resource
import struct
import sys
import time
import tracemalloc
from collections import Counter, OrderedDict
from functools import cache
from itertools import pairwise
from typing import Any
from zlib import crc32

import torch

from fastload.storage.cell_scan import scan_cells
from fastload.storage.errors import DataError
from fastload.storage.formats.tensors import Tensor
from fastload.storage.formats.torchfile import torch_file
from fastload.storage.formats.zip import directory
from tests.conformance.toy import Memory
from tests.fastload import cellmaker

MOST_MEMORY = 2**25
MOST_SECONDS = 10.0
_MOST_READ = 2**20
_MOST_PICKLE = 2**20 + 99
"""Of a mutant: a little more than the reader takes."""
_PICKLE = "archive/data.pkl"
_CODES = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
_WORDS = [b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cposix\nsystem\n",
          b"ccollections\nOrderedDict\n)R", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
          b"\x8a\x08" + b"\xff" * 7 + b"\x7f", b"K\x00", b"h\x00", b"h\x05", b"q\x00", b"(", b"t",
          b"X\xff\xff\xff\x7f", b"\x95" + bytes(8), b"Q", b"\x94", b"\x93"]  # fmt: skip


@cache
def seeds() -> tuple[bytes, ...]:
    """Sound files, of many kinds."""
    x = torch.arange(48).reshape(2, 2, 3, 2, 2)
    state = torch.nn.Linear(2, 3).state_dict()
    values: list[tuple[Any, int]] = [
        (x.short(), 2), (x.float(), 5), (x.to(torch.uint16), 2), (x.mT[1:], 2),
        (torch.nn.Parameter(x.half()), 4), (state, 2), (state, 5),
        ({"a": [x, (1, None, 2.5, "s", b"\xff", True)], "b": OrderedDict(c=x[0])}, 4),
    ]  # fmt: skip
    files = [cellmaker.pth(value, pickle_protocol=p) for value, p in values]
    return (*files, cellmaker.big_endian(x.int()), cellmaker.without_checksums(x.short()))


def spoiled(rng: random.Random, data: bytes) -> bytes:
    """Some bytes changed, left out, repeated or put in."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        at = rng.randrange(len(out) + 1)
        count = rng.choice((1, 1, 2, 4, 8, 64))
        kind = rng.randrange(6)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[at : at + count] = rng.randbytes(len(out[at : at + count]))
        elif kind == 2:
            del out[at : at + count]
        elif kind == 3:
            out[at:at] = out[at : at + count] * rng.choice((1, 2, 50))
        elif kind == 4:
            out[at : at + count] = rng.choice((b"\xff", b"\0", b"\x7f")) * count
        else:
            del out[at + rng.randrange(64) :]
    return bytes(out)


@cache
def steps(program: bytes) -> tuple[bytes, ...]:
    """The opcodes of a pickle with their arguments."""
    ends = [at for _, _, at in pickletools.genops(program) if at is not None]
    return tuple(program[a:b] for a, b in pairwise([*ends, len(program)]))


def rewritten(rng: random.Random, program: bytes) -> bytes:
    """Opcodes of a pickle changed, left out, repeated, exchanged or put in."""
    parts = list(steps(program))
    for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
        at, other = rng.randrange(len(parts)), rng.randrange(len(parts))
        kind = rng.randrange(6)
        if kind == 0:
            parts[at] = spoiled(rng, parts[at])
        elif kind == 1:
            parts[at] = b""
        elif kind == 2:
            parts[at] = (parts[at] * rng.choice((2, 3, 1000)))[:_MOST_PICKLE]
        elif kind == 3:
            parts[at], parts[other] = parts[other], parts[at]
        elif kind == 4:
            parts[at] += rng.choice(_WORDS)
        else:
            parts[at] += rng.choice(_CODES) + rng.randbytes(rng.choice((0, 1, 4)))
    return b"".join(parts)[:_MOST_PICKLE]


@cache
def opened(seed: bytes) -> dict[str, bytes]:
    """The members of a zip."""
    entries = directory(lambda at, size: seed[at : at + size], len(seed)).entries
    return {name: seed[e.offset : e.offset + e.stored] for name, e in entries.items()}


def zipped(members: dict[str, bytes]) -> bytes:
    """A sound zip of members, with checksums; in a tenth of the time that `zipfile` takes."""
    out, listed = bytearray(), bytearray()
    for name, data in members.items():
        coded = name.encode()
        about = struct.pack("<5H3L2H", 20, 0, 0, 0, 33, crc32(data), len(data), len(data),
                            len(coded), 0)  # fmt: skip
        listed += b"PK\1\2\x14\0" + about + struct.pack("<3H2L", 0, 0, 0, 0, len(out)) + coded
        out += b"PK\3\4" + about + coded + data
    counts = len(members), len(members), len(listed), len(out)
    return bytes(out + listed + b"PK\5\6" + bytes(4) + struct.pack("<2H2LH", *counts, 0))


def mutant(rng: random.Random) -> bytes:
    """A file: spoiled as it is, or a sound zip of a spoiled pickle or of other members."""
    seed = rng.choice(seeds())
    kind = rng.randrange(10)
    if kind < 3:
        return spoiled(rng, seed)
    members = dict(opened(seed))
    if kind < 8:
        members[_PICKLE] = rewritten(rng, members[_PICKLE])
    elif kind == 8:
        members[_PICKLE] = spoiled(rng, members[_PICKLE])
    else:
        name = rng.choice([n for n in members if n != _PICKLE])
        members[name] = spoiled(rng, members[name])
    return zipped(members)


def read(data: bytes) -> str:
    """Read a file with all its tensors; what came of it."""

    def part(offset: int, size: int) -> bytes:
        if not 0 <= offset <= offset + size <= len(data):
            raise ValueError(f"{size} bytes at {offset} reach beyond the file")
        return data[offset : offset + size]

    try:
        file = torch_file(part, len(data))
    except ValueError:
        return "refused"
    todo, found = [file.tree], "read"
    while todo:
        one = todo.pop()
        if isinstance(one, Tensor) and one.itemsize * _count(one.shape) <= _MOST_READ:
            assert file.array(one, part).shape == one.shape
        elif isinstance(one, dict | list | tuple):
            todo += one.values() if isinstance(one, dict) else one
    return found


def _count(shape: tuple[int, ...]) -> int:
    out = 1
    for n in shape:
        out *= n
    return out


def scanned(data: bytes, text: bytes) -> str:
    """The same file in a shard, beside a json."""
    files = [("0000001.s2_toa.pth", data), ("0000001.json", text)]
    out = io.BytesIO()
    cellmaker.put(out, files)
    store = Memory("fuzz", {"example-000000.tar": out.getvalue()})
    try:
        scan_cells(store, "example-000000.tar", len(out.getvalue()))
    except DataError:
        return "shard refused"
    return "shard read"


_TEXT = (
    b'{"s2_toa": [["1_2.00_3.00/5_2.00_3.00/20210101", "1_2.00_3.00/5_2.00_3.00/20210401"],'
    b' [["1_2.00_3.00/6_2.00_3.00/20210101"], ["1_2.00_3.00/6_2.00_3.00/20210401"]]], "x": 1}'
)


def run(seconds: float, executions: int, seed: int) -> Counter[str]:
    """Read mutants until the time is over, or so many of them; counts of what came of them.

    Raises:
        AssertionError: names the mutant that takes too much time or memory, or fails otherwise.
    """
    counts: Counter[str] = Counter()
    seeds()
    end = time.monotonic() + seconds
    number = seed
    while time.monotonic() < end and number - seed < executions:
        counts[_one(number)] += 1
        number += 1
    return counts


def _resident() -> int:
    """Bytes of memory that the process has had at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _one(number: int) -> str:
    rng = random.Random(number)
    data = mutant(rng)
    text = spoiled(rng, _TEXT) if rng.random() < 0.7 else _TEXT
    traced = number % 25 == 0  # what is asked for and not touched
    if traced:
        tracemalloc.start()
    had, began = _resident(), time.process_time()
    try:
        found = scanned(data, text) if rng.random() < 0.1 else read(data)
    except Exception as error:
        raise AssertionError(f"mutant {number}: {error!r}") from error
    finally:
        most = max(tracemalloc.get_traced_memory()[1], _resident() - had)
        tracemalloc.stop()
    took = time.process_time() - began
    assert took < MOST_SECONDS, f"mutant {number} took {took} s"
    assert most < MOST_MEMORY, f"mutant {number} took {most} bytes"
    return found


if __name__ == "__main__":
    print(run(float(sys.argv[1]), 10**9, int(sys.argv[2])))
