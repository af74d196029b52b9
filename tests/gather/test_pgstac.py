"""A server that filters and sorts gives the scenes that our own filter and order give."""

from pathlib import Path
from typing import Any

import pytest

from fastload.gather import catalogue as searching
from fastload.gather.question import question
from tests.gather.pgstac import pgstac
from tests.gather.stac import Api, candidate, s1, s2, window
from tests.gather.test_catalogue import ALL, catalogue, ids

pytestmark = pytest.mark.long

ITEMS = [
    *ALL,
    *(s2(f"2021-03-{1 + n % 30:02d}", 7.0 * n % 100, sequence=n % 3, satellite="AB"[n % 2],
         tile=("32UNV", "32UPV", "32UQV")[n % 3], at=f"11:{n % 60:02d}:00") for n in range(90)),
    *(s1(f"2021-03-{1 + n:02d}", unique=f"00{n:02d}", mode=("IW", "EW")[n % 2]) for n in range(20)),
]  # fmt: skip
UNIQUE = list({entry["id"]: entry for entry in ITEMS}.values())


def without_extensions(client: Any, served: Any, when: Any, cloud: Any) -> dict[str, Any]:
    said = question(client, served, when, cloud)
    return {"datetime": said["datetime"]}


def test_filter_sort_and_fields_of_the_server_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [("earth-search", "S2L2A", cloud) for cloud in (None, 0.5, 0.051, 0.01)]
    asked += [("planetary-computer", "S1RTC", None)]

    def found(url: str) -> list[list[str]]:
        return [
            ids(catalogue(url, like, page=7).scenes(modality, candidate(), window(), cloud))
            for like, modality, cloud in asked
        ]

    with pgstac(UNIQUE, tmp_path) as url:
        with_all = found(url)
        client, _ = catalogue(url)._client()
        sent = question(client, catalogue(url).service.served("S2L2A"), window(), 0.5)
        assert {"sortby", "fields"} < set(sent)
        assert {"query", "filter"} & set(sent)
        monkeypatch.setattr(searching, "question", without_extensions)
        assert found(url) == with_all
    with Api(UNIQUE, ()) as api:
        assert found(api.url) == with_all
    assert len(with_all[0]) > len(with_all[1]) > len(with_all[2]) > len(with_all[3]) > 0
    assert len(with_all[4]) > 5
