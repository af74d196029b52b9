"""The names that `torch.save` pickles tensors with, and what stands for calling them: descriptions.

Sources: `torch._utils`, `torch.serialization` (versions 1.4 to 2.15).
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

from fastload.storage.formats.pickle_machine import Known
from fastload.storage.formats.pickle_reader import read_pickle
from fastload.storage.formats.tensors import BFLOAT16, DTYPES, Storage, Tensor, disk_dtype

_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": BFLOAT16,
    "Char": "int8", "Short": "int16", "Int": "int32", "Long": "int64", "Byte": "uint8",
    "Bool": "bool", "ComplexFloat": "complex64", "ComplexDouble": "complex128",
}  # fmt: skip
_UNTYPED = "untyped"
_MOST_AXES = 16
_MOST = 2**48
"""Largest length, stride or offset that is believed."""
_MOST_KEY = 64


def read_tree(data: bytes) -> tuple[Any, list[Storage]]:
    """What a pickle of torch holds, with a `Tensor` in the place of each, and their storages.

    Raises:
        ValueError: says what is refused, and where it stands.
    """
    seen: dict[str, Storage] = {}
    tree = read_pickle(data, _NAMES, partial(_persistent, seen))
    return tree, list(seen.values())


def _whole(value: Any, what: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST:
        raise ValueError(f"{what} of a tensor must be a whole number from 0 on")
    return value


def _sizes(value: Any, what: str) -> tuple[int, ...]:
    if not isinstance(value, tuple) or len(value) > _MOST_AXES:
        raise ValueError(f"{what} of a tensor must be a tuple of at most {_MOST_AXES} numbers")
    return tuple(_whole(n, what) for n in value)


def _persistent(seen: dict[str, Storage], value: Any) -> Storage:
    """What stands for ``('storage', class, key, device, number of values)``."""
    if not isinstance(value, tuple) or len(value) != 5 or value[0] != "storage":
        raise ValueError("a persistent id must be of a storage, with five parts")
    _, kind, key, device, count = value
    if not isinstance(kind, Known) or kind.name not in _KINDS:
        raise ValueError("a storage must be of a class of torch's storages")
    if not isinstance(key, str) or not isinstance(device, str) or len(key) > _MOST_KEY:
        raise ValueError("the key and the device of a storage must be short texts")
    dtype = _KINDS[kind.name]
    itemsize = 1 if dtype == _UNTYPED else disk_dtype(dtype).itemsize
    storage = Storage(key, dtype, _whole(count, "the size of a storage") * itemsize)
    if seen.setdefault(key, storage).size != storage.size:
        raise ValueError(f"storage {key!a} has two sizes")
    return storage


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, dtype: str | None) -> Tensor:
    if not isinstance(storage, Storage):
        raise ValueError("a tensor must have a storage")
    name = storage.dtype if dtype is None else dtype
    if name == _UNTYPED:
        raise ValueError("a tensor of an untyped storage must say its dtype")
    shape, steps = _sizes(size, "the shape"), _sizes(stride, "a stride")
    if len(shape) != len(steps):
        raise ValueError(f"a tensor of {len(shape)} axes has {len(steps)} strides")
    return Tensor(name, shape, steps, _whole(offset, "the offset"), storage)


def _rebuild_tensor_v2(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, more: Any = None
) -> Tensor:
    _check_hooks(grad, hooks, more)
    return _tensor(storage, offset, size, stride, None)


def _rebuild_tensor_v3(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, dtype: Any,
    more: Any = None,
) -> Tensor:  # fmt: skip
    _check_hooks(grad, hooks, more)
    if not isinstance(dtype, Known) or dtype.name.removeprefix("torch.") not in DTYPES:
        raise ValueError("the dtype of a tensor must be one of torch's")
    return _tensor(storage, offset, size, stride, dtype.name.removeprefix("torch."))


def _rebuild_parameter(data: Any, grad: Any, hooks: Any) -> Tensor:
    _check_hooks(grad, hooks, None)
    if not isinstance(data, Tensor):
        raise ValueError("a parameter must be made of a tensor")
    return data


def _check_hooks(grad: Any, hooks: Any, more: Any) -> None:
    """More are the bits of conjugate and negative views: their values differ from those stored."""
    if type(grad) is not bool or not isinstance(hooks, dict) or hooks:
        raise ValueError("a tensor must say whether it requires a gradient, and have no hooks")
    if more:
        raise ValueError("a tensor with further properties, such as a conjugate view, is not read")


def _ordered() -> OrderedDict[Any, Any]:
    return OrderedDict()


def _size(values: Any) -> tuple[int, ...]:
    return _sizes(values, "the shape")


def _encoded(text: Any, encoding: Any) -> bytes:
    """How bytes are pickled by protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise ValueError("_codecs.encode is known for bytes alone, a text and 'latin1'")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    return b""


_KINDS = {f"torch.{name}Storage": dtype for name, dtype in _STORAGES.items()} | {
    "torch.storage.UntypedStorage": _UNTYPED
}
_CALLS: dict[str, Callable[..., Any]] = {
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered,
    "_codecs.encode": _encoded,
    "__builtin__.bytes": _no_bytes,
    "builtins.bytes": _no_bytes,
}


def _split(name: str) -> tuple[str, str]:
    module, _, last = name.rpartition(".")
    return module, last


_NAMES = {_split(name): Known(name, call) for name, call in _CALLS.items()} | {
    _split(name): Known(name) for name in (*_KINDS, *(f"torch.{name}" for name in DTYPES))
}
