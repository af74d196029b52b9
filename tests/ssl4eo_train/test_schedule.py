"""How long a schedule is, and how long the learning rate may rise in it."""

from types import SimpleNamespace
from typing import Any

import pytest

from ssl4eo_train import made
from ssl4eo_train.command import parser
from ssl4eo_train.config import Config, resolve
from ssl4eo_train.distributed import World
from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import METHODS, Progress
from ssl4eo_train.methods.common import warmup_cosine
from ssl4eo_train.schedule import Schedule, schedule
from tests.ssl4eo_train.runs import words

pytestmark = pytest.mark.timeout(60)
DATES: Any = SimpleNamespace(timestamps=4)


def config(*line: str) -> Config:
    given = vars(parser().parse_args(["--device", "cpu", "--data", "x", *line]))
    return resolve(given, None, World())


def test_the_rate_rises_as_long_as_it_is_asked_to() -> None:
    """FB's MoCo-v3 has 40 of 300 epochs, which is more than a tenth."""
    rates = [warmup_cosine(Progress(10 * e, 10, 300), 40.0, 2.0, 0.0) for e in (0, 10, 39, 40, 300)]
    assert rates == pytest.approx([0.0, 0.5, 1.95, 2.0, 0.0], abs=1e-12)
    half = warmup_cosine(Progress(1700, 10, 300), 40.0, 2.0, 0.0)
    assert half == pytest.approx(1.0)
    assert warmup_cosine(Progress(5, 10, 1), 1.0, 2.0, 0.0) == pytest.approx(1.0)
    assert warmup_cosine(Progress(0, 10, 1), 0.0, 2.0, 0.0) == 2.0


@pytest.mark.parametrize("method", ["moco_v3", "dino", "mae", "data2vec"])
def test_a_rise_that_is_longer_than_the_schedule_is_refused(method: str) -> None:
    for epochs, warmup in ((9, 10), (5, 5.5), (100, -1)):
        line = ("--method", method, "--epochs", str(epochs), "--set", f"warmup={warmup}")
        wanted = f"warmup is {warmup:g} epochs, expected from 0 to the {epochs} of the schedule"
        with pytest.raises(SetupError, match=wanted):
            schedule(config(*line), DATES, 10)
    line = ("--method", method, "--epochs", "10", "--set", "warmup=10")
    assert schedule(config(*line), DATES, 7) == Schedule(steps=7, epochs=10, last=70)


def test_more_steps_than_epochs_lengthen_the_schedule() -> None:
    longer = config("--method", "mae", "--epochs", "5", "--steps", "95")
    assert schedule(longer, DATES, 10) == Schedule(steps=10, epochs=10, last=95)


def test_a_refused_run_leaves_no_folder(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from ssl4eo_train.__main__ import main

    line = words(tmp_path / "run", "--method", "moco_v3", "--epochs", "3")
    line[line.index("queue=8")] = "warmup=4"
    assert main(line) == 2
    assert "warmup is 4 epochs, expected from 0 to the 3 of the schedule" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_an_epoch_of_dates_is_several_passes() -> None:
    """As SeCo counts in its mode `moco`; its milestones follow."""
    line = ("--method", "seco", "--epochs", "10", "--epoch-of", "dates")
    plan = schedule(config(*line), DATES, 25)
    assert plan == Schedule(steps=100, epochs=10, last=1000)
    shares = [Progress(step, plan.steps, plan.epochs).epoch for step in (599, 600, 800)]
    assert shares == [5.99, 6.0, 8.0]
    assert schedule(config("--method", "seco", "--epochs", "10"), DATES, 25).last == 250
    assert config("--config", "seco_moco").epoch_of == "dates"
    assert config("--config", "seco_resnet18").epoch_of == "locations"


def test_made_scenes_have_a_rise_of_a_tenth() -> None:
    for name, settings in made.SETTINGS.items():
        options = METHODS[name].Options(**settings["options"])
        if hasattr(options, "warmup"):
            assert options.warmup == settings["epochs"] / 10


def test_other_words_are_refused(tmp_path: Any) -> None:
    (tmp_path / "own.yaml").write_text("method: mae\nepoch_of: years\n")
    with pytest.raises(SetupError, match="epoch_of: expected one of locations, dates, got 'years'"):
        config("--config", str(tmp_path / "own.yaml"))
