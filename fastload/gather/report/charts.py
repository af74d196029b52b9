"""Bars as SVG, in the colours of the page."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, BELOW, ABOVE = 360, 150, 36, 18, 12
"""In pixels of a phone, so that no text becomes too small."""


def bars(counts: Sequence[int], labels: Sequence[str], said: str, under: bool = True) -> str:
    """A bar for each count.

    Args:
        counts: of each bin.
        labels: below each; "" for none. One more than bins are of their edges.
        said: what is shown, for those who do not see it.
        under: labels stand under the bars' middles; else, and with one more, at their left edges.
    """
    top = max(1, *counts) if counts else 1
    wide = (WIDTH - LEFT - 6) / max(1, len(counts))
    high = HEIGHT - BELOW - ABOVE
    parts = [f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
             f'aria-label="{escape(said)}"><title>{escape(said)}</title>']  # fmt: skip
    for share in (0.5, 1.0):
        y = ABOVE + high * (1 - share)
        parts.append(f'<path class="lines" d="M{LEFT} {y:g}H{WIDTH - 6}"/>')
        parts.append(f'<text x="{LEFT - 4}" y="{y + 4:g}" text-anchor="end">{top * share:g}</text>')
    boxes = "".join(
        f"M{LEFT + i * wide + wide * 0.08:.2f} {ABOVE + high}"
        f"v{-high * n / top:.2f}h{wide * 0.84:.2f}V{ABOVE + high}z"
        for i, n in enumerate(counts)
        if n
    )
    parts.append(f'<path class="fill" d="{boxes}"/>' if boxes else "")
    parts.append(f'<path class="base" d="M{LEFT} {ABOVE + high}H{WIDTH - 6}"/>')
    middle = 0.5 if under and len(labels) == len(counts) else 0.0
    for i, label in enumerate(labels):
        if label:
            x = LEFT + (i + middle) * wide
            parts.append(
                f'<text x="{x:.1f}" y="{HEIGHT - 4}" text-anchor="middle">{escape(label)}</text>'
            )
    return f'<div class="chart">{"".join(parts)}</svg></div>'
