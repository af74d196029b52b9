"""Small pieces of a page."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.inspect.png import data_uri

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A page that needs nothing else, and asks nobody for anything.

    Args:
        title: of the window.
        parts: of the body, which are HTML.
        style: rules beside those of `page.css`.
    """
    common = files("fastload.inspect").joinpath("page.css").read_text(encoding="utf-8")
    return "".join((
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<link rel="icon" href="data:,">',
        f"<title>{escape(title)}</title><style>{common}{style}</style></head><body><main>",
        *parts, "</main></body></html>\n",
    ))  # fmt: skip


def soft(text: str) -> str:
    """A paragraph beside the matter."""
    return f'<p class="soft">{escape(text)}</p>'


def table(
    caption: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    kind: str = "",
    mark: int = -1,
) -> str:
    """A table whose first column names the rows.

    Args:
        caption: what it shows; read out, not seen.
        heads: of the columns.
        rows: cells, which are text.
        kind: a class of the style.
        mark: number of the row that is ours.
    """
    top = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(
        f"<tr{' class=own' if i == mark else ''}>"
        f'<th scope="row">{escape(row[0])}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption class="unseen">{escape(caption)}</caption>'
        f"<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure(image: NDArray[np.uint8], alt: str, caption: str) -> str:
    """An image ``[H, W, 3]`` with words below."""
    H, W, _ = image.shape
    return (
        f'<figure><img src="{data_uri(image)}" width="{W}" height="{H}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def folded(title: str, content: str) -> str:
    """What is shown when its title is chosen."""
    return f'<details><summary class="soft">{escape(title)}</summary>{content}</details>'


def facts(title: str, values: Mapping[str, Any]) -> str:
    """A card of names and values."""
    rows = "".join(
        f"<dt>{escape(str(name).replace('_', ' '))}</dt><dd>{escape(said(value))}</dd>"
        for name, value in values.items()
    )
    return f'<section class="card"><h3>{escape(title)}</h3><dl>{rows}</dl></section>'


def said(value: Any) -> str:
    """A setting in words."""
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return "; ".join(f"{name}: {said(one)}" for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(said(one) for one in value)
    return str(value)
