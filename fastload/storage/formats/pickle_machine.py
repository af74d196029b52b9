"""The machine that a pickle is a program for: a stack, marks and a memo, of plain values alone."""

import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MOST_TEXT = 2**16
"""Bytes of a text."""
_MOST_WHOLE = 16
"""Bytes of a whole number."""
_MOST_NAME = 256
_PROTOCOLS = (2, 3, 4, 5)
_KEYS = (str, bytes, int, float, bool, type(None))


@dataclass(frozen=True)
class Known:
    """A name that a pickle may use.

    Attributes:
        name: with its module.
        call: what stands for calling it; given the arguments it returns a description. None where
            it is no function.
    """

    name: str
    call: Callable[..., Any] | None = None


Names = Mapping[tuple[str, str], Known]
"""By module and name."""
_U8 = struct.Struct("<Q")


class Machine:
    """The stack, its marks and the memo of one pickle; no opcode does more than its methods.

    All methods raise ValueError, which says where the pickle is at fault.
    """

    def __init__(self, data: bytes, names: Names, persistent: Callable[[Any], Any]) -> None:
        self.data, self.names, self.persistent = data, names, persistent
        self.at = self.start = 0
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def result(self) -> Any:
        """The one value that is left at the end."""
        if len(self.stack) != 1 or self.marks:
            raise self.refuse(f"it ends with {len(self.stack)} values on the stack, expected 1")
        if self.at != len(self.data):
            raise self.refuse(f"{len(self.data) - self.at} bytes follow its end")
        return self.stack[0]

    def refuse(self, reason: str) -> ValueError:
        """The error of the opcode at hand."""
        return ValueError(f"its pickle, at byte {self.start}: {reason}")

    def take(self, count: int) -> bytes:
        """The next bytes of the pickle."""
        out = self.data[self.at : self.at + count]
        if len(out) != count:
            raise self.refuse(f"{count} bytes are promised, {len(out)} are there")
        self.at += count
        return out

    def number(self, form: struct.Struct) -> Any:
        """The next number."""
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        """A text up to the end of the line."""
        end = self.data.find(b"\n", self.at, self.at + _MOST_NAME + 1)
        if end < 0:
            raise self.refuse(f"a name of more than {_MOST_NAME} bytes")
        return self.text(self.take(end + 1 - self.at)[:-1])

    def text(self, data: bytes) -> str:
        """Bytes as UTF-8."""
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise self.refuse("a text that is no UTF-8") from error

    def sized(self, form: struct.Struct, most: int, what: str) -> bytes:
        """Bytes behind their size."""
        size = self.number(form)
        if not 0 <= size <= most:
            raise self.refuse(f"{what} of {size} bytes, at most {most} are read")
        return self.take(size)

    def pop(self) -> Any:
        """The value on top; none below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise self.refuse("it takes a value from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """All values above the last mark, which is taken off too."""
        if not self.marks:
            raise self.refuse("it takes values up to a mark that is not there")
        at = self.marks.pop()
        out = self.stack[at:]
        del self.stack[at:]
        return out

    def top(self, kind: type, what: str) -> Any:
        """The value on top, of a kind."""
        value = self.pop()
        if not isinstance(value, kind):
            raise self.refuse(f"{what} {_kind(value)}, expected a {kind.__name__}")
        self.stack.append(value)
        return value

    def name(self, module: str, name: str) -> None:
        """Push what stands for a name."""
        known = self.names.get((module, name))
        if known is None:
            full = ascii(f"{module}.{name}")[1:-1]
            raise self.refuse(
                f"it would use {full}, which is none of the names that plain tensors need: refused"
            )
        self.stack.append(known)

    def call(self) -> None:
        """Push what stands for a call of a function with a tuple of arguments."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Known) or function.call is None:
            raise self.refuse(f"it would call {_kind(function)}: refused")
        if not isinstance(arguments, tuple):
            raise self.refuse(f"it calls {function.name} with {_kind(arguments)}, not a tuple")
        try:
            self.stack.append(function.call(*arguments))
        except TypeError as error:
            count = len(arguments)
            raise self.refuse(f"{function.name} does not take such {count} arguments") from error
        except ValueError as error:
            raise self.refuse(str(error)) from error

    def persist(self) -> None:
        """Push what stands for a persistent id."""
        try:
            self.stack.append(self.persistent(self.pop()))
        except ValueError as error:
            raise self.refuse(str(error)) from error

    def build(self) -> None:
        """Attributes of an `OrderedDict`, such as the versions of a model's parts: left out."""
        state, target = self.pop(), self.pop()
        if not isinstance(target, OrderedDict) or not isinstance(state, dict):
            raise self.refuse(f"it would set the state of {_kind(target)}: refused")
        self.stack.append(target)

    def remember(self, number: int) -> None:
        """Note the value on top in the memo."""
        value = self.pop()
        self.stack.append(value)
        self.memo[number] = value

    def recall(self, number: int) -> None:
        """Push a value of the memo."""
        if number not in self.memo:
            raise self.refuse(f"it recalls value {number}, which is not there")
        self.stack.append(self.memo[number])

    def gather(self, count: int) -> None:
        """Push a tuple of the topmost values."""
        self.stack.append(tuple([self.pop() for _ in range(count)][::-1]))

    def extend(self, values: list[Any]) -> None:
        """Append to the list on top."""
        self.top(list, "it would append to").extend(values)

    def set_items(self, values: list[Any]) -> None:
        """Set items of the dict on top, from keys and values in turn."""
        target = self.top(dict, "it would set items of")
        if len(values) % 2:
            raise self.refuse("a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, _KEYS):
                raise self.refuse(f"{_kind(key)} as the key of a dict, expected a plain value")
            target[key] = value

    def set_item(self) -> None:
        """As `set_items`, from the stack."""
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    def protocol(self) -> None:
        """Check the protocol, which the first opcode says."""
        found = self.take(1)[0]
        if found not in _PROTOCOLS or self.start:
            raise self.refuse(f"protocol {found}, expected one of {_PROTOCOLS} at its start")

    def frame(self) -> None:
        """Check that a frame fits."""
        size = self.number(_U8)
        if size > len(self.data) - self.at:
            raise self.refuse(f"a frame of {size} bytes, {len(self.data) - self.at} are there")

    def whole(self, form: struct.Struct) -> None:
        """Push a whole number of any size up to 16 bytes."""
        data = self.sized(form, _MOST_WHOLE, "a whole number")
        self.stack.append(int.from_bytes(data, "little", signed=True))

    def stack_name(self) -> None:
        """As `name`, with module and name from the stack."""
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.refuse(f"a name made of {_kind(module)} and {_kind(name)}")
        self.name(module[:_MOST_NAME], name[:_MOST_NAME])


def _kind(value: Any) -> str:
    """What messages call a value; a hostile one may be long, or hold itself."""
    return value.name if isinstance(value, Known) else f"a {type(value).__name__}"
