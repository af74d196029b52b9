import pytest

from tests.kernels.cuda.devices import PLACES, Place


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> Place:
    """Each device in turn."""
    return PLACES[request.param]()
