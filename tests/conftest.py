import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """``-m quick`` picks what is not marked `slow`."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker("quick")
