"""``python -m fastload gather fetch PLAN OUT``."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from fastload.cli.interrupts import polite
from fastload.crew import EXECUTORS
from fastload.gather.fetch.again import Again
from fastload.gather.fetch.fetch import TRIES, fetch
from fastload.gather.fetch.gathering import WORKERS, Fetched, Options
from fastload.gather.fetch.manifest import FILE, is_manifest
from fastload.gather.plan import plan_file
from fastload.gather.plan.plan import Plan
from fastload.gather.search.rule import RULES, Rule
from fastload.gather.search.services import SHIPPED, Service, service

HELP = "fetch the samples of a plan from open archives into shards that train"
_RULE, _OPTIONS = Rule(), Options()
_NAMED, _REASONS = 5, 20
"""Locations that are named of those that failed for one reason, and how many reasons are."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("plan", metavar="PLAN", help="file that `gather plan` wrote")
    parser.add_argument("target", metavar="OUT", help="root of the data set, a folder")
    _add_source(parser.add_argument_group("what is fetched"))
    _add_layout(parser.add_argument_group("how it is written"))
    _add_work(parser.add_argument_group("how it is done (none of it changes a byte)"))


def _add_source(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--service", metavar="NAME|URL|FILE", help=f"one of {', '.join(SHIPPED)}, the URL of a "
        "STAC API, or a file that describes one (earth-search)")  # fmt: skip
    add("--like", metavar="NAME|FILE", help="for a URL: the service that it is built as")
    add("--modalities", nargs="+", metavar="NAME", help="such as S2L2A S1RTC DEM (S2L2A)")
    add("--again", action="store_true", help="PLAN is a manifest: its scenes are fetched once "
        "more, without any search")  # fmt: skip
    add("--rule", choices=RULES, default=_RULE.name, help=f"{_told(RULES)} ({_RULE.name})")
    add("--max-cloud", type=float, default=_RULE.cloud, metavar="SHARE",
        help=f"of a whole scene, which must be below; 1 for any ({_RULE.cloud})")  # fmt: skip
    add("--patch-cloud", type=float, default=_RULE.patch_cloud, metavar="SHARE",
        help=f"of the patch, that is good enough for clear ({_RULE.patch_cloud:g})")  # fmt: skip
    add("--max-missing", type=float, default=0.0, metavar="SHARE",
        help="pixels of a patch that may be without data (0)")  # fmt: skip
    add("--offset", type=int, choices=(0, 1000),
        help="DN of zero reflectance of all optical scenes (each item tells)")  # fmt: skip
    add("--leave-out", nargs="+", type=int, default=[], metavar="LOCATION",
        help="give these up, which cannot be fetched")  # fmt: skip


def _add_layout(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--split", default=_OPTIONS.split, help=f"folder below OUT ({_OPTIONS.split})")
    add("--locations-per-shard", type=int, metavar="N", help=f"({_OPTIONS.per_shard})")


def _add_work(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--executor", default=_OPTIONS.executor, help=f"{EXECUTORS} ({_OPTIONS.executor})")
    add("--workers", type=int, default=WORKERS, help=f"locations at a time ({WORKERS})")
    add("--tries", type=int, default=TRIES, help=f"requests for the same at most ({TRIES})")
    add("--timeout", type=float, metavar="SECONDS", help="without a byte, of a request (20)")
    add("--rate", type=float, default=0.0, metavar="N",
        help="requests a second, all workers of a machine together (as they come)")  # fmt: skip
    add("--quiet", action="store_true", help="show no progress bar")


def _told(choices: Mapping[str, str]) -> str:
    return "; ".join(f"{name}: {what}" for name, what in choices.items())


def run(args: argparse.Namespace) -> int:
    """Fetch, and say what came of it; 1 where locations are left, 130 after an interrupt."""
    plan = _plan(args)
    try:
        with polite():
            done = fetch(
                plan,
                args.target,
                _service(args, plan),
                _modalities(args, plan),
                _options(args, plan),
                rule=_rule(args),
                max_missing=args.max_missing,
                offset=args.offset,
                tries=args.tries,
                rate=args.rate,
                say=_say,
                **({} if args.timeout is None else {"timeout": args.timeout}),
            )
    except KeyboardInterrupt:
        _say(f"{args.target}: interrupted; what is done stays, and the same command goes on")
        return 130
    print(summary(done))
    if done.log.unfinished:
        _say(unfinished(done.log.unfinished))
    return 1 if done.counts.open else 0


def _plan(args: argparse.Namespace) -> Plan | Again:
    path = Path(args.plan)
    if args.again:
        return Again(path)
    if is_manifest(path):
        raise ValueError(f"{path} is a manifest, no plan: --again fetches its scenes once more")
    return plan_file.read(path)


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _rule(args: argparse.Namespace) -> Rule:
    return Rule(args.rule, None if args.max_cloud == 1 else args.max_cloud, args.patch_cloud)


def _service(args: argparse.Namespace, plan: Plan | Again) -> Service:
    name = args.service or "earth-search"
    if args.service is None and isinstance(plan, Again):
        name = plan.told["service"]["name"]
        if name not in SHIPPED:
            raise ValueError(f"{plan.path} was fetched from {name}: --service says how it is read")
    return service(name, args.like)


def _modalities(args: argparse.Namespace, plan: Plan | Again) -> list[str]:
    known: list[str] = plan.told["modalities"] if isinstance(plan, Again) else ["S2L2A"]
    return args.modalities or known


def _options(args: argparse.Namespace, plan: Plan | Again) -> Options:
    each = plan.each if isinstance(plan, Again) else _OPTIONS.per_shard
    return Options(
        split=args.split,
        per_shard=each if args.locations_per_shard is None else args.locations_per_shard,
        executor=args.executor,
        workers=args.workers,
        leave_out=args.leave_out,
        progress=not args.quiet,
    )


def summary(done: Fetched) -> str:
    """What came of it, in three lines."""
    counts, log = done.counts, done.log
    reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(counts.reasons.items()))
    why = f" (candidates: {reasons})" if reasons else ""
    sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in done.sizes.items())
    return (
        f"{done.folder}: {counts.whole} locations are whole, {counts.absent} absent{why}, "
        f"{counts.open} open; {done.shards[0]} of {done.shards[1]} shards are written\n{sizes}\n"
        f"this run: {log.decided} locations in {done.seconds:.1f} s "
        f"({log.decided / max(done.seconds, 1e-9):.2f}/s), {log.requests} requests, "
        f"{log.bytes / 1e6:.1f} MB read"
    )


def unfinished(trouble: Mapping[int, str]) -> str:
    """Which locations could not be fetched, by reason."""
    by_reason = defaultdict[str, list[int]](list)
    for location, reason in sorted(trouble.items()):
        by_reason[reason].append(location)
    lines = [f"{len(trouble)} locations could not be fetched; the same command tries them again, "
             "and --leave-out gives some up:"]  # fmt: skip
    for reason, some in [*by_reason.items()][:_REASONS]:
        more = f" and {len(some) - _NAMED} more" if len(some) > _NAMED else ""
        lines.append(f"  {', '.join(map(str, some[:_NAMED]))}{more}: {reason}")
    if len(by_reason) > _REASONS:
        lines.append(f"  and others for {len(by_reason) - _REASONS} more reasons, see {FILE}")
    return "\n".join(lines)
