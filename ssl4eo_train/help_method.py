"""What may be set of a method: the fields of its `Options`, with what its file says of them."""

import ast
import dataclasses
import inspect
import textwrap
from typing import Any

from ssl4eo_train.methods import METHODS


def text(method: str) -> str:
    """The options of a method, each with its type, its default and its documentation."""
    kind = METHODS[method].Options
    said = documentation(kind)
    lines = [f"Options of {method}, to be set by --set NAME=VALUE:"]
    for field in dataclasses.fields(kind):
        lines.append(f"  {field.name} ({_type(field.type)}, default {field.default!r})")
        lines += textwrap.wrap(said.get(field.name, ""), 92, initial_indent=" " * 6,
                               subsequent_indent=" " * 6)  # fmt: skip
    return "\n".join(lines if len(lines) > 1 else [f"{method} has no options"])


def documentation(kind: type[Any]) -> dict[str, str]:
    """The text below each field of a class, in one line; Python itself does not keep it."""
    [body] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    said = {}
    for field, below in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            said[field.target.id] = " ".join(str(below.value.value).split())
    return said


def _type(annotation: Any) -> str:
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
