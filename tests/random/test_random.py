"""200 random runs beside the slow model; ``python -m tests.random.machine 20000`` tries more."""

import pytest

from tests.random.machine import case

TestRandomRuns = pytest.mark.slow(pytest.mark.timeout(290)(case(200)))
