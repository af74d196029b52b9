"""Reading a pickle's opcodes without unpickling: nothing is imported, and nothing of it is called.

A pickle is a program for a small machine with a stack. This one builds plain values, and knows the
few names that a caller gives it; whatever else a program would import, call or make is refused by
name. Source of the opcodes: the standard library's `pickletools`, protocols 2 to 5.
"""

import pickletools
import struct
from collections.abc import Callable
from typing import Any

from fastload.storage.formats.pickle_machine import MOST_TEXT, Machine, Names

MOST_BYTES = 2**20
"""Bytes of a pickle that are believed."""
MOST_OPCODES = 2**17
MOST_NODES = 2**17
"""Values in the result, each counted as often as it is reached."""
MOST_DEPTH = 64
"""Containers within each other."""


def read_pickle(data: bytes, names: Names, persistent: Callable[[Any], Any]) -> Any:
    """The value that a pickle describes.

    Args:
        data: of one pickle.
        names: those that it may use.
        persistent: what stands for a persistent id.

    Returns:
        None, bool, int, float, str, bytes, list, tuple, dict, `Known`, and what the callables give.

    Raises:
        ValueError: names the opcode or the name that is refused, and the byte where it stands.
    """
    if len(data) > MOST_BYTES:
        raise ValueError(f"its pickle has {len(data)} bytes, at most {MOST_BYTES} are read")
    value = _run(Machine(data, names, persistent))
    _check_tree(value)
    return value


def _run(machine: Machine) -> Any:
    for _ in range(MOST_OPCODES):
        machine.start = machine.at
        code = machine.take(1)[0]
        if code == _STOP:
            return machine.result()
        step = _STEPS.get(code)
        if step is None:
            raise machine.refuse(_refused(code))
        step(machine)
    raise ValueError(f"its pickle has more than {MOST_OPCODES} opcodes")


def _check_tree(value: Any) -> None:
    """Refuse what is nested too deep or grows too large where it is walked; without recursion."""
    todo, nodes = [(value, 0)], 0
    while todo:
        one, depth = todo.pop()
        if depth > MOST_DEPTH:
            raise ValueError(f"its pickle nests more than {MOST_DEPTH} containers, or itself")
        inside = one.values() if isinstance(one, dict) else one
        if not isinstance(one, dict | list | tuple):
            continue
        nodes += len(one)
        if nodes > MOST_NODES:
            raise ValueError(f"its pickle holds more than {MOST_NODES} values")
        todo += [(child, depth + 1) for child in inside]


def _refused(code: int) -> str:
    found = _OPCODES.get(code)
    if found is None:
        return f"there is no opcode {code}"
    why = _WHY.get(found, "which plain tensors have no need of")
    return f"opcode {found} {why}: refused"


_OBJECT = "would make an object of a class"
_WHY = {
    "INST": _OBJECT, "OBJ": _OBJECT, "NEWOBJ": _OBJECT, "NEWOBJ_EX": _OBJECT,
    "EXT1": "would use the copyreg registry", "EXT2": "would use the copyreg registry",
    "EXT4": "would use the copyreg registry", "PERSID": "is of protocol 0",
    "NEXT_BUFFER": "takes a buffer that is not in the file",
    "READONLY_BUFFER": "takes a buffer that is not in the file",
}  # fmt: skip

_U1, _U2, _I4, _U4, _U8 = map(struct.Struct, ("<B", "<H", "<i", "<I", "<Q"))
_F8 = struct.Struct(">d")
_STOP = ord(".")


def _push(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _texts(form: struct.Struct) -> Callable[[Machine], None]:
    return _push(lambda m: m.text(m.sized(form, MOST_TEXT, "a text")))


def _bytes(form: struct.Struct) -> Callable[[Machine], None]:
    return _push(lambda m: m.sized(form, MOST_TEXT, "bytes"))


def _drop(machine: Machine) -> None:
    """As `pickle` has it: the mark, where nothing lies on it."""
    if machine.marks and len(machine.stack) == machine.marks[-1]:
        machine.marks.pop()
    else:
        machine.pop()


def _drop_to_mark(machine: Machine) -> None:
    machine.pop_to_mark()


_BY_NAME: dict[str, Callable[[Machine], None]] = {
    "PROTO": Machine.protocol,
    "FRAME": Machine.frame,
    "MARK": lambda m: m.marks.append(len(m.stack)),
    "POP": _drop,
    "POP_MARK": _drop_to_mark,
    "DUP": lambda m: m.stack.extend([m.pop()] * 2),
    "NONE": _push(lambda m: None),
    "NEWTRUE": _push(lambda m: True),
    "NEWFALSE": _push(lambda m: False),
    "BININT": _push(lambda m: m.number(_I4)),
    "BININT1": _push(lambda m: m.number(_U1)),
    "BININT2": _push(lambda m: m.number(_U2)),
    "LONG1": lambda m: m.whole(_U1),
    "LONG4": lambda m: m.whole(_I4),
    "BINFLOAT": _push(lambda m: m.number(_F8)),
    "BINUNICODE": _texts(_U4),
    "SHORT_BINUNICODE": _texts(_U1),
    "BINUNICODE8": _texts(_U8),
    "BINBYTES": _bytes(_U4),
    "SHORT_BINBYTES": _bytes(_U1),
    "BINBYTES8": _bytes(_U8),
    "EMPTY_LIST": _push(lambda m: []),
    "EMPTY_DICT": _push(lambda m: {}),
    "EMPTY_TUPLE": _push(lambda m: ()),
    "TUPLE": _push(lambda m: tuple(m.pop_to_mark())),
    "TUPLE1": lambda m: m.gather(1),
    "TUPLE2": lambda m: m.gather(2),
    "TUPLE3": lambda m: m.gather(3),
    "APPEND": lambda m: m.extend([m.pop()]),
    "APPENDS": lambda m: m.extend(m.pop_to_mark()),
    "SETITEM": Machine.set_item,
    "SETITEMS": lambda m: m.set_items(m.pop_to_mark()),
    "BINPUT": lambda m: m.remember(m.number(_U1)),
    "LONG_BINPUT": lambda m: m.remember(m.number(_U4)),
    "MEMOIZE": lambda m: m.remember(len(m.memo)),
    "BINGET": lambda m: m.recall(m.number(_U1)),
    "LONG_BINGET": lambda m: m.recall(m.number(_U4)),
    "GLOBAL": lambda m: m.name(m.line(), m.line()),
    "STACK_GLOBAL": Machine.stack_name,
    "BINPERSID": Machine.persist,
    "REDUCE": Machine.call,
    "BUILD": Machine.build,
}
_OPCODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}
_STEPS = {code: _BY_NAME[name] for code, name in _OPCODES.items() if name in _BY_NAME}
