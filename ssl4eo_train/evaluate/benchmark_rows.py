"""``python -m ssl4eo_train.evaluate.benchmark_rows DIR... --csv FILE``: rows of torchgeo-bench.

A row an evaluation, in the columns of its ``results/all_results.csv`` (0.4). What only its own
runner knows, such as calibration, is left empty. `dataset` is the task's name here, since its
samples and splits are not those of the benchmark's subsets.
"""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastload.storage.whole import write_whole
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import result

COLUMNS = (
    *("dataset", "method", "metric_name", "metric_value", "ci_lower", "ci_upper", "feature_dim"),
    *("best_c", "best_lr", "best_batch_size", "n_train", "n_val", "n_test", "seed", "model"),
    *("name", "normalization", "image_size", "interpolation", "partition", "bands"),
    *("c_range_start", "c_range_stop", "c_range_num", "merge_val", "bootstrap", "fw_iou"),
    *("precision", "recall", "f1", "ece", "rms_ce", "mce", "ece_ts", "rms_ce_ts", "mce_ts"),
    *("temperature", "calibration_n_bins"),
)
METRICS = {"map_micro": "micro_mAP", "miou": "mIoU"}
"""Its names of metrics that are called otherwise here."""
MODEL = "ssl4eo_train.evaluate"


def row(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The row of an evaluation.

    Args:
        content: see `result.FIELDS`.
        name: of the model.
    """
    metric, settings, chosen = content["metric"], content["settings"], content["chosen"]
    number = content["numbers"][metric]
    share = content["fraction"]
    return {
        "dataset": content["task"],
        "method": _method(content["protocol"], settings),
        "metric_name": METRICS.get(metric, metric),
        "metric_value": number["value"],
        "ci_lower": number["low"],
        "ci_upper": number["high"],
        # Its penalty is that of scikit-learn, see `classify.probes.logistic`.
        "best_c": 1 / (chosen["l2"] * content["splits"]["train"]) if "l2" in chosen else None,
        "best_lr": chosen.get("rate"),
        **{f"n_{split}": content["splits"].get(split) for split in ("train", "val", "test")},
        "seed": content["seed"],
        "model": MODEL,
        "name": name,
        "normalization": "model_native",
        "image_size": settings.get("image_size") or settings.get("size") or None,
        "interpolation": "bilinear",
        "partition": "default" if share == 1 else f"{share:.2f}x_train",
        "bands": ",".join(band for bands in content["bands"].values() for band in bands),
        "bootstrap": content["bootstrap"].get("resamples"),
    }


def _method(protocol: str, settings: Mapping[str, Any]) -> str:
    """Its name of a protocol."""
    if protocol == "knn":
        return f"knn{settings['neighbours']}"
    return f"seg-{settings['decoder']}" if protocol == "segment" else protocol


def append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows to a table, which is made where there is none, and replaced as a whole.

    Raises:
        SetupError: where the file has other columns.
    """
    before: list[dict[str, Any]] = []
    columns: Sequence[str] = COLUMNS
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            columns = list(reader.fieldnames or ())
            before = list(reader)
    if lacking := [name for name in rows[0] if name not in columns]:
        raise SetupError(f"{path}: expected the columns of torchgeo-bench, lacks {lacking}")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows([*before, *rows])
    write_whole(path, text.getvalue())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status, 2 where a file is not as expected."""
    parser = argparse.ArgumentParser(
        prog="python -m ssl4eo_train.evaluate.benchmark_rows",
        description="Add evaluations to a table in the format of torchgeo-bench's results.",
    )
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--csv", type=Path, required=True, metavar="FILE")
    parser.add_argument("--name", help="of the model; by default the checkpoint's source")
    args = parser.parse_args(argv)
    try:
        found = [result.read(folder) for folder in args.folders]
        rows = [row(x, args.name or x["checkpoint"]["source"]) for x in found]
        append(args.csv, rows)
    except (SetupError, OSError) as error:
        print(f"ssl4eo_train.evaluate.benchmark_rows: {error}", file=sys.stderr)
        return 2
    print(f"{args.csv}: {len(rows)} rows more")
    return 0


if __name__ == "__main__":
    sys.exit(main())
