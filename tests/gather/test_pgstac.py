"""A server that filters and sorts gives the scenes that our own filter and order give."""

from pathlib import Path
from typing import Any

import pytest

from fastload.gather.search import catalogue as searching
from fastload.gather.search.question import question
from tests.gather.pgstac import pgstac
from tests.gather.stac import Api, candidate, s1, s2, window
from tests.gather.test_catalogue import ALL, NEWEST, THERE, catalogue, ids

pytestmark = pytest.mark.long

ITEMS = [
    *ALL,
    *(s2(f"2021-03-{1 + n:02d}", 7.0 * n % 100, sequence=n % 3, satellite="AB"[n % 2],
         tile=("32UNV", "32UPV", "32UQV")[n % 3], at=f"11:{n:02d}:00") for n in range(30)),
    *(s1(f"2021-03-{1 + n:02d}", unique=f"00{n:02d}", mode=("IW", "EW")[n % 2]) for n in range(20)),
]  # fmt: skip
UNIQUE = list({entry["id"]: entry for entry in ITEMS}.values())


def without_extensions(client: Any, served: Any, when: Any) -> dict[str, Any]:
    return {"datetime": question(client, served, when)["datetime"]}


def test_filter_sort_and_fields_of_the_server_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(url: str) -> list[list[str]]:
        return [
            ids(catalogue(url, like, page=size).scenes(modality, candidate(), window()))
            for like, modality in (("earth-search", "S2L2A"), ("planetary-computer", "S1RTC"))
            for size in (7, 100)
        ]

    with pgstac(UNIQUE, tmp_path) as url:
        with_all = found(url)
        search = catalogue(url, "planetary-computer")
        sent = question(search._client()[0], search.service.served("S1RTC"), window())
        assert {"sortby", "fields"} < set(sent)
        assert {"query", "filter"} & set(sent)
        monkeypatch.setattr(searching, "question", without_extensions)
        assert found(url) == with_all
    with Api(UNIQUE, ()) as api:
        assert found(api.url) == with_all
    optical = len(THERE) + len(NEWEST) + 1 + 30  # of ALL, and one a day
    assert [len(some) for some in with_all] == [optical, optical, 11, 11]
