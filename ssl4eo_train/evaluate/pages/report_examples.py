"""Examples on the page: images, what is true of them, and what was said."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.inspect.html import soft
from fastload.inspect.pictures import classes
from fastload.inspect.png import data_uri
from ssl4eo_train.evaluate.outcome import Example

MOST = 256
"""Pixels a side; larger images are shown by every second, third, ... pixel."""
UNKNOWN = (128, 128, 128)
"""Of pixels that no class is known of."""
CHANGE = np.array([(38, 44, 52), (255, 196, 61)], np.uint8)
Image = NDArray[np.uint8]


def palette(kind: str, K: int) -> Image:
    """The colour of each class, uint8 ``[K, 3]``."""
    if kind == "change":
        return CHANGE
    shown: Image = classes(np.arange(1, K + 1)[None])[0]  # Its 0 is black, for "no class".
    return shown


def map_of(labels: Image, colours: Image, ignored: int | None) -> Image:
    """Class numbers ``[h, w]`` as a picture ``[h, w, 3]``."""
    table = np.full((256, 3), UNKNOWN, np.uint8)
    table[: len(colours)] = colours
    if ignored is not None:
        table[ignored % 256] = UNKNOWN
    return table[labels]


def gallery(
    result: Mapping[str, Any], examples: Sequence[Example], ignored: int | None
) -> Iterator[str]:
    """A section of the page; nothing where there are no examples."""
    if not examples:
        return
    yield "<h2>Examples</h2>"
    mapped = any(not isinstance(example.truth, str) for example in examples)
    colours = palette(result["kind"], len(result["classes"]))
    yield soft(
        "Test images, some chosen by their names alone, the others since they are most confidently "
        "wrong."
    )
    if mapped:
        yield _legend(result["classes"], colours, ignored)
    yield f'<div class="row{" wide" if mapped else ""}">'
    for example in examples:
        yield _mapped(example, colours, ignored) if mapped else _named(example)
    yield "</div>"


def _legend(names: Sequence[str], colours: Image, ignored: int | None) -> str:
    shown = list(zip(names, colours.tolist(), strict=True))
    if ignored is not None:
        shown = [pair for k, pair in enumerate(shown) if k != ignored]
        shown.append(("not counted", list(UNKNOWN)))
    keys = "".join(
        f'<li><span style="background:rgb({r},{g},{b})"></span>{escape(name)}</li>'
        for name, (r, g, b) in shown
    )
    return f'<ul class="keys">{keys}</ul>'


def _named(example: Example) -> str:
    right = example.truth == example.said
    verdict = (
        f'<span class="right">right: {escape(str(example.truth))}</span>'
        if right
        else f'<span class="wrong">said {escape(str(example.said))}</span>, '
        f"is {escape(str(example.truth))}"
    )
    images = _images(example)
    caption = f"<figcaption>{escape(example.key)}: {verdict}</figcaption>"
    return f'<figure><div class="pair">{"".join(images)}</div>{caption}</figure>'


def _mapped(example: Example, colours: Image, ignored: int | None) -> str:
    maps = [
        _image(map_of(np.asarray(labels, np.uint8), colours, ignored), f"{example.key}: {what}")
        for what, labels in (("what is true", example.truth), ("what was said", example.said))
    ]
    shown = "".join([*_images(example), *maps])
    order = "image" if len(example.images) == 1 else "dates"
    caption = f"<figcaption>{escape(example.key)}: {order}, truth, said</figcaption>"
    return f'<figure><div class="pair">{shown}</div>{caption}</figure>'


def _images(example: Example) -> list[str]:
    dates = (
        ["image"] if len(example.images) == 1 else [f"date {t}" for t in range(len(example.images))]
    )
    return [
        _image(image, f"{example.key}: {date}")
        for image, date in zip(example.images, dates, strict=True)
    ]  # fmt: skip


def _image(image: Image, alt: str) -> str:
    step = -(-max(image.shape[:2]) // MOST)
    small = np.ascontiguousarray(image[::step, ::step])
    H, W, _ = small.shape
    return f'<img src="{data_uri(small)}" width="{W}" height="{H}" alt="{escape(alt)}">'
