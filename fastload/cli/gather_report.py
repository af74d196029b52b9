"""``python -m fastload gather report OUT``."""

import argparse
import json
from pathlib import Path
from typing import Any

from fastload.gather.report.look import Look

HELP = "show what was gathered, or what a plan would gather: an offline page, and figures as JSON"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    look = Look()
    parser.add_argument("place", type=Path, metavar="OUT", help="folder of `fetch`, or a plan")
    parser.add_argument(
        "--plan", type=Path, metavar="PLAN.parquet", help="of the folder (the one that it names)"
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE.html",
        help="the page; the figures lie beside it (OUT/report.html, PLAN.report.html)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=look.samples, metavar="N",
        help=f"whose pixels are measured, at most ({look.samples})",
    )  # fmt: skip
    parser.add_argument(
        "--examples", type=int, default=look.examples, metavar="N",
        help=f"samples that are shown in pictures ({look.examples})",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=look.seed, help=f"of the choice of both ({look.seed})"
    )


def run(args: argparse.Namespace) -> int:
    """Write the page and the figures, and say the most important ones."""
    from fastload.gather.report.making import report  # here, since it takes seconds

    look = Look(args.samples, args.examples, args.seed)
    path = report(args.place, plan=args.plan, html=args.html, look=look)
    figures = path.with_suffix(".json")
    print("\n".join(_lines(json.loads(figures.read_text()))))
    print(f"written to {path} and {figures}")
    return 0


def _lines(figures: dict[str, Any]) -> list[str]:
    plan, gathered = figures["plan"], figures.get("gathered")
    promised = plan["windows"]["meteorological"]["promised"]
    lines = [
        f"{plan['locations']} locations with {plan['candidates']} candidates each; "
        f"{plan['overlaps']['pairs']} pairs of candidates share ground; windows promise one date "
        f"in each local season to {promised}"
    ]
    if gathered is None:
        return lines
    lines.append(", ".join(f"{gathered[n]} {n}" for n in ("whole", "absent", "open")))
    for reason, count in gathered["failures"]["reasons"].items():
        lines.append(f"  {count} candidates did not fit: {reason}")
    for name, about in gathered["dates"].items():
        each = about["seasons"]["meteorological"]["one_date_in_each"]
        lines.append(
            f"{name}: {about['dates']} dates, {about['first']} to {about['last']}; one in each "
            f"local season at {each} of {about['locations']} locations"
        )
    lines.append(f"{gathered['overlaps']['pairs']} pairs of patches share ground")
    return lines
