"""What users report of loaders, row by row, and the tests that hold it right.

``python -m tests.faults`` runs these tests and writes ``docs/faults.md``; named rows, as in
``python -m tests.faults A9 B4``, are run alone and replaced there.
"""

import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "faults.md"
F, K, S, H = "tests/fastload", "tests/kernels", "tests/ssl4eo_train", "tests/harness"
R = "tests/remote"

ROWS: dict[str, tuple[str, list[str]]] = {
    "A1": (
        "whatever wraps a dataset, every epoch shows new views",
        [f"{F}/test_draws.py::test_a1_", f"{F}/test_choosing.py::test_a1_"],
    ),
    "A2": ("a subclass's `__getitem__` is used", [f"{F}/test_draws.py::test_a2_"]),
    "A3": (
        "samplers resume exactly; a changed one is refused",
        [f"{H}/test_samplers.py::test_a3_"],
    ),
    "A4": ("shard borders count under block shuffle", [f"{F}/test_loader_state.py::test_a4_"]),
    "A5": (
        "of an epoch that is over nothing is left",
        [f"{F}/test_loader_state.py::test_a5_", f"{S}/test_data.py::test_a5_",
         f"{H}/test_accelerate.py::test_a7_a5_"],
    ),
    "A6": ("rank beside a sampler is refused", [f"{F}/test_choosing.py::test_a6_"]),
    "A7": (
        "Accelerate and the Trainer get what a prepared torch loader gives, and exactly",
        [f"{H}/test_accelerate.py::test_a7_", f"{H}/test_trainer.py::test_a7_",
         f"{F}/test_plan.py::test_a7_"],
    ),
    "A8": ("keys are text everywhere", [f"{F}/test_choosing.py::test_a8_"]),
    "A9": (
        "dates are read in their units; unknown ones have no season",
        [f"{F}/test_dates.py::test_a9_", f"{F}/test_dates.py::test_season_of_an_unknown_date",
         f"{F}/test_extras.py::test_an_unknown_date_stays_unknown"],
    ),
    "A10": ("dates of modalities are compared", [f"{F}/test_align.py::test_a10_"]),
    "A11": (
        "no handle left is no bad sample",
        [f"{F}/test_machine.py::test_no_handle_left_is_not_the_datas_fault",
         f"{F}/test_machine.py::test_no_memory_is_not_the_datas_fault"],
    ),
    "A12": (
        "not-a-number means the same everywhere, is counted, and can be filled",
        [f"{K}/test_not_finite.py::test_a12_", f"{F}/test_not_finite.py::test_a12_"],
    ),
    "A13": ("other content of the same size and time is seen", [f"{F}/test_guest.py::test_a13_"]),
    "A14": (
        "a damaged index is built anew",
        [f"{F}/test_index.py::test_no_byte_of_the_index_is_trusted"],
    ),
    "A15": ("a shard of zeros is empty", [f"{F}/test_index.py::test_shards_without_samples"]),
    "A16": (
        "class numbers stay class numbers",
        [f"{F}/test_not_finite.py::test_a16_", f"{K}/test_not_finite.py::test_labels_keep_"],
    ),
    "B1": (
        "an iterator that is left never blocks",
        [f"{F}/test_lifetime.py::test_iterations_that_are_left",
         f"{F}/test_lifetime.py::test_nothing_outlives_the_last_name"],
    ),
    "B2": (
        "a failing disk and a file that changes are errors, never signals",
        [f"{F}/test_machine.py::test_a_failing_disk_raises",
         f"{F}/test_machine.py::test_samples_of_a_failing_disk_are_replaced",
         f"{F}/test_machine.py::test_shards_that_change_under_a_run"],
    ),
    "B3": (
        "an iterator does not go on in a forked child",
        [f"{F}/test_lifetime.py::test_an_iterator_does_not_go_on_in_a_forked_child"],
    ),
    "B4": ("a process ends at once", [f"{F}/test_lifetime.py::test_a_process_ends_at_once"]),
    "B5": ("bad data ends a run with a checkpoint", [f"{S}/test_errors.py::test_b5_"]),
    "B6": (
        "one run a folder; Slurm's tasks form one run",
        [f"{S}/test_folder.py::test_b6_", f"{S}/test_slurm.py::test_b6_"],
    ),
    "B7": (
        "Slurm's notice saves; `--resume` before a checkpoint starts",
        [f"{S}/test_run.py::test_b7_", f"{S}/test_run.py::test_a_signal_saves"],
    ),
    "B8": ("a full disk is a sentence", [f"{S}/test_errors.py::test_b8_"]),
    "C1": (
        "one budget of file handles",
        [f"{F}/test_machine.py::test_handles_stay_within_a_budget",
         f"{F}/test_lifetime.py::test_nothing_outlives_the_last_name"],
    ),
    "C2": ("no lock, no home, no room: it opens", [f"{F}/test_guest.py::test_c2_"]),
    "C3": ("a lock follows no link", [f"{F}/test_guest.py::test_c3_"]),
    "C4": ("what macOS leaves is passed over", [f"{F}/test_recognise.py::test_c4_"]),
    "C5": ("the index command sees what the dataset sees", [f"{F}/test_recognise.py::test_c5_"]),
    "C6": ("what lies there is read, or named", [f"{F}/test_recognise.py::test_c6_"]),
    "C7": (
        "bad shards may be left out; ranks compare what they found",
        [f"{F}/test_recognise.py::test_c7_", f"{F}/test_agreement.py::test_c7_"],
    ),
    "C8": ("NumPy's numbers are numbers", [f"{F}/test_draws.py::test_c8_"]),
    "C9": (
        "headers and indexes that lie are refused, within bounds",
        [f"{F}/test_hostile.py::test_c9_", f"{F}/test_guest.py::test_c9_"],
    ),
    "C10": (
        "memory, left-overs and fingerprints do not grow with history",
        [f"{F}/test_memory.py::test_c10_", f"{F}/test_guest.py::test_c10_",
         f"{F}/test_arrays.py::test_columns_after_tars_came_and_went"],
    ),
    "D1": (
        "compressors, filters and zip64: damage is named, nothing grows beyond its bound",
        [f"{F}/test_codecs.py::test_a_bomb", f"{F}/test_codecs.py::test_a_stream",
         f"{F}/test_codecs.py::test_cut_and_flipped", f"{F}/test_zip64.py::test_end_records_that",
         f"{F}/test_zip64.py::test_zip64_fields", f"{F}/test_fuzz.py::test_random_damage"],
    ),
    "D2": (
        "zarr files of many samples: damage is named, by chunk where it lies there",
        [f"{F}/test_zarr_files.py::test_a_damaged", f"{F}/test_zarr_files.py::test_truncated",
         f"{F}/test_zarr_files.py::test_a_file_that_shrinks",
         f"{F}/test_zarr_files.py::test_headers_that", f"{F}/test_zarr_files.py::test_ids_that"],
    ),
    "D3": (
        "`.pth` files: nothing in them runs, bombs stay small, damage is named",
        [f"{F}/test_pickle_reader.py::test_what_would_run",
         f"{F}/test_pickle_reader.py::test_a_hostile", f"{F}/test_pickle_reader.py::test_bombs",
         f"{F}/test_pickle_reader.py::test_every_opcode",
         f"{F}/test_torchfile.py::test_a_file_that", f"{F}/test_torchfile.py::test_a_directory",
         f"{F}/test_torch_fuzz.py::test_mutants", f"{F}/test_copernicus.py::test_engines_name"],
    ),
    "D4": (
        "trees of GeoTIFFs: a damaged, cut or odd file is named, what lacks is said",
        [f"{F}/test_trees.py::test_a_damaged", f"{F}/test_trees.py::test_void_ids",
         f"{F}/test_trees.py::test_folders_without", f"{F}/test_tiff.py::test_damage",
         f"{F}/test_geotiffs.py::test_what_does_not_fit",
         f"{F}/test_geotiffs.py::test_folders_without"],
    ),
    "D5": (
        "EuroSAT, BigEarthNet, TerraMesh: broken trees, lists and images are named",
        [f"{F}/test_eurosat.py::test_broken", f"{F}/test_eurosat.py::test_images_that",
         f"{F}/test_eurosat.py::test_zips_that", f"{F}/test_eurosat.py::test_a_changed_byte",
         f"{F}/test_bigearthnet.py::test_broken", f"{F}/test_bigearthnet.py::test_files_that",
         f"{F}/test_terramesh.py::test_a_key_of_both", f"{F}/test_terramesh.py::test_kinds_of"],
    ),
    "D6": (
        "several modalities in one tar, other numbers of dates: what lacks is said",
        [f"{F}/test_side_by_side.py::test_partners", f"{F}/test_side_by_side.py::test_keys_that",
         f"{F}/test_side_by_side.py::test_members_of", f"{F}/test_fewer_dates.py::test_they_may",
         f"{F}/test_fewer_dates.py::test_a_batch"],
    ),
    "D7": (
        "packing is resumed after a kill, a full disk and damage",
        [f"{F}/test_pack_work.py::test_killed", f"{F}/test_pack_work.py::test_a_full_disk",
         f"{F}/test_pack.py::test_damage", f"{F}/test_pack.py::test_a_shard_that",
         f"{F}/test_pack.py::test_other_options"],
    ),
    "D8": (
        "a server that is slow, drops, lies or changes files hangs nothing and mixes nothing",
        [f"{R}/test_faults.py::test_what_passes", f"{R}/test_faults.py::test_what_stays",
         f"{R}/test_faults.py::test_retry_after", f"{R}/test_faults.py::test_a_file_that",
         f"{R}/test_faults.py::test_secrets", f"{R}/test_datasets.py::test_a_stalled",
         f"{R}/test_datasets.py::test_a_shard_that", f"{R}/test_blocks.py::test_a_damaged",
         f"{R}/test_blocks.py::test_processes", f"{R}/test_blocks.py::test_a_full_disk"],
    ),
}  # fmt: skip
"""By row: what is right, and the beginnings of the names of its tests."""


def functions_of(node: str) -> list[str]:
    """The test that a node names, or else all in its file whose names begin so."""
    file, _, name = node.partition("::")
    lines = (ROOT / file).read_text().splitlines()
    functions = [line[4:].split("(")[0] for line in lines if line.startswith(f"def {name}")]
    return [f"{file}::{f}" for f in functions if f == name or name not in functions]


def results(rows: list[str]) -> dict[str, Counter[str]]:
    """Outcomes of the tests of some rows by ``file::function``."""
    parts = {part for row in rows for part in ROWS[row][1]}
    nodes = sorted({test for part in parts for test in functions_of(part)})
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", f"--junitxml={report}"]
        command += ["-m", "long or not long"]
        subprocess.run([sys.executable, *command, *nodes], cwd=ROOT, check=False)
        return outcomes(report)


def outcomes(report: Path) -> dict[str, Counter[str]]:
    """What a report says of each test."""
    found: dict[str, Counter[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        file = case.get("classname", "").replace(".", "/") + ".py"
        test = f"{file}::{case.get('name', '').split('[')[0]}"
        bad = any(case.find(kind) is not None for kind in ("failure", "error"))
        outcome = "failed" if bad else "passed" if case.find("skipped") is None else "skipped"
        found.setdefault(test, Counter())[outcome] += 1
    return found


HEAD = """# Faults that users report of loaders, and the tests against each

Made by `uv run --group test python -m tests.faults`, which runs the tests. A: silently wrong.
B: hangs and dies. C: the machine is not as ours. D: each further container. Each row says what is
right.

| row | what is right | tests | result |
|---|---|---|---|
"""


def line(row: str, found: dict[str, Counter[str]]) -> str:
    """A row of the table."""
    right, parts = ROWS[row]
    tests = [test for part in parts for test in functions_of(part)]
    total = sum((found.get(test, Counter({"not run": 1})) for test in tests), Counter[str]())
    said = ", ".join(f"{n} {outcome}" for outcome, n in sorted(total.items()))
    state = "**open**" if set(total) - {"passed", "skipped"} or not total["passed"] else "holds"
    names = ", ".join(f"`{part}`" for part in parts)
    return f"| {row} | {right} | {names} | {state}: {said} |"


def main(rows: list[str]) -> int:
    """Run the tests of some rows, or of all, and write their lines; 1 where a row is open."""
    old = TABLE.read_text().splitlines() if rows and TABLE.exists() else []
    lines = {text.split("|")[1].strip(): text for text in old if text.startswith("| ")}
    asked = rows or list(ROWS)
    found = results(asked)
    lines |= {row: line(row, found) for row in asked}
    page = HEAD + "\n".join(lines.get(row, line(row, {})) for row in ROWS) + "\n"
    TABLE.write_text(page)
    return int("**open**" in page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
