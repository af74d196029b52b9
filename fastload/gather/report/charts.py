"""Bars as SVG, in the colours of the page."""

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10

WIDTH, HEIGHT, LEFT, RIGHT, BELOW, ABOVE = 360, 150, 36, 18, 18, 12
"""In pixels of a phone, so that no text becomes too small."""
HIGH = HEIGHT - BELOW - ABOVE
BASE = ABOVE + HIGH


def bars(counts: Sequence[int], labels: Sequence[str], said: str) -> str:
    """A bar for each count.

    Args:
        counts: of each bin.
        labels: below each, "" for none; or one more than bins, below their edges.
        said: what is shown, for those who do not see it.
    """
    top = max(1, *counts, 1)
    wide = (WIDTH - LEFT - RIGHT) / max(1, len(counts))
    boxes = "".join(
        f"M{LEFT + (i + 0.08) * wide:.2f} {BASE}v{-HIGH * n / top:.2f}h{wide * 0.84:.2f}V{BASE}z"
        for i, n in enumerate(counts)
        if n
    )
    shift = 0.5 if len(labels) == len(counts) else 0.0
    words = (
        f'<text x="{LEFT + (i + shift) * wide:.1f}" y="{HEIGHT - 4}" text-anchor="middle">'
        f"{escape(label)}</text>"
        for i, label in enumerate(labels)
        if label
    )
    return (
        f'<div class="chart"><svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(said)}"><title>{escape(said)}</title>{"".join(_lines(top))}'
        f'<path class="fill" d="{boxes}"/><path class="base" d="M{LEFT} {BASE}H{WIDTH - RIGHT}"/>'
        f"{''.join(words)}</svg></div>"
    )


def _lines(top: int) -> Iterator[str]:
    """Lines at one to five round numbers."""
    step = next(s for s in _round(top) if top / s <= 5)
    for value in range(step, top + 1, step):
        y = BASE - HIGH * value / top
        yield f'<path class="lines" d="M{LEFT} {y:.2f}H{WIDTH - RIGHT}"/>'
        words = f"{value // 1000}k" if step >= 1000 else f"{value}"
        yield f'<text x="{LEFT - 4}" y="{y + 3.5:.2f}" text-anchor="end">{words}</text>'


def _round(top: int) -> Iterator[int]:
    """1, 2, 5, 10, ... from a tenth of the top's power of ten on."""
    power = floor(log10(top)) - 1
    for exponent in range(max(0, power), power + 3):
        yield from (10**exponent, 2 * 10**exponent, 5 * 10**exponent)
