"""Pickles that are hostile: refused by name, and nothing of them is ever run."""

import pickle
import pickletools
import struct
import time
import tracemalloc
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch

from fastload import DataError
from fastload.datasets.copernicus import CopernicusPretrain
from fastload.storage.formats.pickle_reader import (
    MOST_BYTES,
    MOST_DEPTH,
    MOST_OPCODES,
    read_pickle,
)
from fastload.storage.formats.torch_pickle import read_tree
from tests.fastload import cellmaker

pytestmark = pytest.mark.timeout(60)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def touch(path: Path) -> bytes:
    """``os.system('touch PATH')``, without its call."""
    return b"cposix\nsystem\n" + text(f"touch {path}") + b"\x85"


RUN: dict[str, Callable[[Path], bytes]] = {
    "REDUCE": lambda p: b"\x80\x02" + touch(p) + b"R.",
    "REDUCE, protocol 4": lambda p: (
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93" + text(f"touch {p}") + b"\x85R."
    ),
    "INST": lambda p: b"\x80\x02(" + text(f"touch {p}") + b"iposix\nsystem\n.",
    "OBJ": lambda p: b"\x80\x02(cposix\nsystem\n" + text(f"touch {p}") + b"o.",
    "eval": lambda p: (
        b"\x80\x02cbuiltins\neval\n" + text(f"open({str(p)!r}, 'w').close()") + b"\x85R."
    ),
    "before what is sound": lambda p: b"\x80\x02" + touch(p) + b"R0" + text("sound") + b".",
}
"""Programs that make a file when they are run."""


@pytest.mark.parametrize("kind", RUN)
def test_what_would_run_is_refused_and_is_not_run(tmp_path: Path, kind: str) -> None:
    canary = tmp_path / "canary"
    program = RUN[kind](canary)
    with pytest.raises(ValueError, match=r"posix.system|builtins.eval|INST"):
        read_tree(program)
    assert not canary.exists()
    pickle.loads(program)  # it does run where it is unpickled
    assert canary.exists()


@pytest.mark.parametrize("kind", RUN)
def test_a_hostile_file_in_a_shard_is_not_run(tmp_path: Path, kind: str) -> None:
    """The error names shard, member, and what is refused."""
    canary = tmp_path / "canary"
    sound = cellmaker.pth(torch.zeros(2, 2))
    program = RUN[kind](canary)
    files = {"0000001.dem.pth": cellmaker.repacked(
        sound, lambda name, data: program if name.endswith("data.pkl") else data
    )}  # fmt: skip
    cellmaker.write_tar(tmp_path / "example-000000.tar", files.items())
    with pytest.raises(DataError, match="refused") as caught:
        CopernicusPretrain(tmp_path, None, "dem", progress=False)
    assert caught.value.member == "0000001.dem.pth"
    assert caught.value.shard.endswith("example-000000.tar")
    assert not canary.exists()


class _Evil:
    """Pickles as a call."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return self.call, self.args


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("call", [eval, exec, __import__, getattr, open, zipfile.ZipFile, set])
def test_calls_are_refused_by_name(protocol: int, call: Any) -> None:
    for value in (_Evil(call, "1"), [_Evil(call, "1")], {"a": (_Evil(call, "1"),)}):
        with pytest.raises(ValueError, match=f"would use [a-z_.]*{call.__name__}"):
            read_tree(pickle.dumps(value, protocol))


STORAGE = b"((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
V2 = b"ctorch._utils\n_rebuild_tensor_v2\n"
ORDERED = b"ccollections\nOrderedDict\n)R"


def rebuilt(*parts: bytes) -> bytes:
    """A call that makes a tensor, of other arguments."""
    return b"\x80\x02" + V2 + b"".join(parts) + b"tR."


def test_the_parts_of_these_tests_are_sound() -> None:
    tree, storages = read_tree(rebuilt(STORAGE, b"K\x00K\x04\x85K\x01\x85\x89", ORDERED))
    assert (tree.shape, tree.stride, storages[0].size) == ((4,), (1,), 16)


REFUSED = {
    "no such opcode": (b"\x80\x02\xff.", "no opcode 255"),
    "nothing": (b"", "1 bytes are promised, 0 are there"),
    "no end": (b"\x80\x02N", "1 bytes are promised"),
    "two ends": (b"\x80\x02N.N.", "2 bytes follow its end"),
    "an empty stack": (b"\x80\x02.", "0 values on the stack"),
    "a mark left": (b"\x80\x02(.", "0 values on the stack"),
    "two values": (b"\x80\x02NN.", "2 values on the stack"),
    "protocol 0": (b"I1\n.", "opcode INT"),
    "protocol 9": (b"\x80\x09N.", "protocol 9"),
    "protocol again": (b"\x80\x02N\x80\x02.", "protocol 2"),
    "below the mark": (b"\x80\x02N(0000.", "empty stack"),
    "no mark": (b"\x80\x02Nt.", "mark that is not there"),
    "memo": (b"\x80\x02h\x07.", "recalls value 7"),
    "a huge whole number": (b"\x80\x02\x8b\xff\xff\xff\x7f", "a whole number of 2147483647 bytes"),
    "a number of less than no bytes": (b"\x80\x02\x8b\xff\xff\xff\xff.", "of -1 bytes"),
    "a huge text": (b"\x80\x02X\xff\xff\xff\xff.", "a text of 4294967295 bytes"),
    "a text beyond the end": (b"\x80\x02X\x00\x01\x00\x00.", "256 bytes are promised"),
    "a text of 2**60 bytes": (b"\x80\x04\x8d" + struct.pack("<Q", 2**60), "a text of 1152921504"),
    "no text": (b"\x80\x02X\x01\x00\x00\x00\xff.", "no UTF-8"),
    "a frame beyond the end": (b"\x80\x04\x95" + struct.pack("<Q", 99) + b"N.", "frame of 99"),
    "a long name": (b"\x80\x02c" + b"a" * 300 + b"\nb\n.", "a name of more than 256"),
    "a name of numbers": (b"\x80\x04K\x01K\x02\x93.", "a name made of a int"),
    "EXT1": (b"\x80\x02\x82\x01.", "EXT1 would use the copyreg registry"),
    "EXT2": (b"\x80\x02\x83\x01\x00.", "EXT2"),
    "EXT4": (b"\x80\x02\x84\x01\x00\x00\x00.", "EXT4"),
    "NEWOBJ": (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ would make an object"),
    "NEWOBJ_EX": (b"\x80\x04ccollections\nOrderedDict\n)}\x92.", "NEWOBJ_EX"),
    "OBJ": (b"\x80\x02(ccollections\nOrderedDict\no.", "OBJ"),
    "BUILD of a list": (b"\x80\x02]}b.", "set the state of a list"),
    "BUILD of a name": (b"\x80\x02ctorch\nSize\n}b.", "set the state of torch.Size"),
    "BUILD by no dict": (b"\x80\x02" + ORDERED + b"Nb.", "set the state of a OrderedDict"),
    "a buffer": (b"\x80\x05\x97.", "NEXT_BUFFER takes a buffer"),
    "a set": (b"\x80\x04\x8f.", "EMPTY_SET"),
    "bytes that change": (b"\x80\x05\x96" + bytes(8) + b".", "BYTEARRAY8"),
    "a text id": (b"\x80\x02Pstorage\n.", "PERSID is of protocol 0"),
    "a call of a text": (b"\x80\x02" + text("os.system") + b")R.", "call a str: refused"),
    "a call of a dtype": (b"\x80\x02ctorch\nfloat32\n)R.", "call torch.float32: refused"),
    "a call of a storage class": (b"\x80\x02ctorch\nFloatStorage\n)R.", "call torch.FloatStorage"),
    "a call with a list": (b"\x80\x02ctorch\nSize\n]R.", "with a list, not a tuple"),
    "too many arguments": (b"\x80\x02ctorch\nSize\n)R.", "does not take such 0 arguments"),
    "OrderedDict of pairs": (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "does not take such 1"),
    "an id that is no tuple": (b"\x80\x02K\x01Q.", "a persistent id must be of a storage"),
    "an id of one part": (b"\x80\x02K\x01\x85Q.", "a persistent id must be of a storage"),
    "an id of another kind": (b"\x80\x02(" + text("module") + b"NNNNtQ.", "must be of a storage"),
    "a class that is a text": (
        b"\x80\x02(" + text("storage") + text("torch.Size") + b"NNNtQ.", "must be of a class"
    ),
    "a class that is a function": (
        b"\x80\x02(" + text("storage") + V2 + b"NNNtQ.", "must be of a class"
    ),
    "a size below 0": (
        b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
        + b"J\xff\xff\xff\xfftQ.", "the size of a storage",
    ),
    "a size that is a bool": (
        b"\x80\x02(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
        + b"\x88tQ.", "the size of a storage",
    ),
    "a tensor without a storage": (rebuilt(b"(NK\x00))\x89", ORDERED), "must have a storage"),
    "a shape that is a list": (rebuilt(STORAGE, b"K\x00])\x89", ORDERED), "must be a tuple"),
    "a length below 0": (
        rebuilt(STORAGE, b"K\x00J\xfe\xff\xff\xff\x85K\x01\x85\x89", ORDERED), "whole number from 0"
    ),
    "a stride below 0": (
        rebuilt(STORAGE, b"K\x00K\x04\x85J\xff\xff\xff\xff\x85\x89", ORDERED), "whole number from 0"
    ),
    "a length of 2**100": (
        rebuilt(STORAGE, b"K\x00\x8a\x0d" + bytes(12) + b"\x10\x85K\x01\x85\x89", ORDERED),
        "whole number from 0",
    ),
    "more strides than axes": (
        rebuilt(STORAGE, b"K\x00K\x04\x85K\x01K\x01\x86\x89", ORDERED), "1 axes has 2 strides"
    ),
    "beyond its storage": (
        rebuilt(STORAGE, b"K\x01K\x04\x85K\x01\x85\x89", ORDERED), "beyond its storage of 16 bytes"
    ),
    "one value a million times a million": (
        rebuilt(STORAGE, b"K\x00J\x40\x42\x0f\x00J\x40\x42\x0f\x00\x86K\x00K\x00\x86\x89", ORDERED),
        "at most 1000 times as many",
    ),
    "hooks": (
        rebuilt(STORAGE, b"K\x00K\x04\x85K\x01\x85\x89", ORDERED + text("a") + b"Ns"), "no hooks"
    ),
    "a bit set": (
        rebuilt(STORAGE, b"K\x00K\x04\x85K\x01\x85\x89", ORDERED, b"}", text("conj"), b"\x88s"),
        "further properties",
    ),
    "a parameter of a list": (
        b"\x80\x02ctorch._utils\n_rebuild_parameter\n(]\x89" + ORDERED + b"tR.", "made of a tensor"
    ),
    "a list as a key": (b"\x80\x02}]Ns.", "a list as the key of a dict"),
    "a tuple as a key": (b"\x80\x02})Ns.", "a tuple as the key of a dict"),
    "a key without a value": (b"\x80\x02}(Nu.", "a key without a value"),
    "items of a list": (b"\x80\x02]NNs.", "set items of a list"),
    "append to a dict": (b"\x80\x02}Na.", "append to a dict"),
    "other codecs": (
        b"\x80\x02c_codecs\nencode\n" + text("a") + text("zlib") + b"\x86R.", "for bytes alone"
    ),
    "a list that holds itself": (b"\x80\x02]q\x00h\x00a.", "nests more than 64 containers"),
    "a dict that holds itself": (
        b"\x80\x02}q\x00" + text("a") + b"h\x00s.", "nests more than 64 containers"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_it_is_refused_with_a_sentence(kind: str) -> None:
    program, expected = REFUSED[kind]
    with pytest.raises(ValueError, match=expected):
        read_tree(program)


def test_every_opcode_is_read_or_refused_by_name() -> None:
    """None is passed over: those that are read say so by reading on."""
    for opcode in pickletools.opcodes:
        with pytest.raises(ValueError, match=r"its pickle") as caught:
            read_pickle(b"\x80\x02" + opcode.code.encode("latin1"), {}, lambda _: None)
        if "refused" in str(caught.value):
            assert opcode.name in str(caught.value)


BOMBS = {
    "ten thousand lists within each other": (b"\x80\x02" + b"]" * 10000 + b"a" * 9999 + b".",
                                             f"more than {MOST_DEPTH}"),
    "twenty thousand tuples": (b"\x80\x02)" + b"\x85" * 20000 + b".", f"more than {MOST_DEPTH}"),
    "ten thousand dicts": (b"\x80\x02" + b"}N" * 10000 + b"}" + b"s" * 10000 + b".",
                             f"more than {MOST_DEPTH}"),
    "a million opcodes": (b"\x80\x02" + b"N0" * (MOST_BYTES // 2 - 2) + b"N.",
                          f"more than {MOST_OPCODES} opcodes"),
    "a million dicts in the memo": (b"\x80\x04" + b"}\x94" * (MOST_BYTES // 2 - 2) + b".",
                                    f"more than {MOST_OPCODES} opcodes"),
    "too long": (b"\x80\x02" + bytes(MOST_BYTES), f"at most {MOST_BYTES} are read"),
    "a shared text many times": (
        b"\x80\x02](" + text("x" * 20000) + b"q\x00" + b"h\x00" * 20000 + b"e."
    , None),
}  # fmt: skip


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_take_neither_time_nor_memory(kind: str) -> None:
    program, expected = BOMBS[kind]
    tracemalloc.start()
    began = time.process_time()
    try:
        if expected is None:
            assert len(read_tree(program)[0]) == 20001
        else:
            with pytest.raises(ValueError, match=expected):
                read_tree(program)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**26
    assert time.process_time() - began < 20


def test_a_billion_laughs_are_counted_as_often_as_they_are_reached() -> None:
    value = [0]
    for _ in range(12):
        value = [value] * 10
    assert len(pickle.dumps(value, 2)) < 1000
    with pytest.raises(ValueError, match=r"holds more than \d+ values"):
        read_tree(pickle.dumps(value, 2))


def test_a_checkpoint_of_a_model_is_read() -> None:
    """Nested, with attributes that are left out, and texts, numbers and bytes of all kinds."""
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    saved = {"model": model.state_dict(), "epoch": 3, "loss": -1.5, "big": 2**70, "small": -1,
             "none": None, "flags": (True, False), "name": "é", "bytes": b"\xff\x00", "no": b"",
             "size": torch.Size([3, 4])}  # fmt: skip
    for protocol in range(2, 6):
        file = BytesIO()
        torch.save(saved, file, pickle_protocol=protocol)
        with zipfile.ZipFile(file) as zipped:
            tree, storages = read_tree(zipped.read("archive/data.pkl"))
        plain = {k: v for k, v in tree.items() if k != "model"}
        assert plain == {k: v for k, v in saved.items() if k != "model"}
        shapes = {k: tuple(v.shape) for k, v in model.state_dict().items()}
        assert {k: v.shape for k, v in tree["model"].items()} == shapes
        assert len(storages) == len(shapes)
