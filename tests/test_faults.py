"""The table of faults names tests that are there, and shows no row open."""

import pytest

from tests.faults import ROWS, TABLE, functions_of


@pytest.mark.parametrize("row", ROWS)
def test_each_row_has_its_tests(row: str) -> None:
    _, parts = ROWS[row]
    for part in parts:
        assert functions_of(part), f"{part} names no test"


def test_the_table_shows_no_row_open() -> None:
    page = TABLE.read_text()
    for row in ROWS:
        assert f"| {row} | " in page
    assert "**open**" not in page
    assert len([line for line in page.splitlines() if "| holds: " in line]) == len(ROWS)
