"""Settings by name: YAML files of whole runs, and the options of a method."""

import dataclasses
import difflib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl4eo_train.errors import SetupError
from ssl4eo_train.methods import Method

FOLDER = Path(__file__).parent / "configs"


def load(name: str) -> dict[str, Any]:
    """Read a file of settings: one that comes with the package, by its name, or any, by its path.

    Raises:
        SetupError: where there is no such file, or it does not hold a mapping.
    """
    import yaml

    shipped = FOLDER / f"{name}.yaml"
    path = shipped if shipped.exists() else Path(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = sorted(p.stem for p in FOLDER.glob("*.yaml"))
        raise SetupError(
            f"--config: {name} is neither a file nor one of {', '.join(known)}"
        ) from error
    except yaml.YAMLError as error:
        raise SetupError(f"--config: {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SetupError(f"--config: {path} must hold a mapping of settings to values")
    return content


def known(words: Mapping[str, Any], names: Collection[str], where: str) -> None:
    """Refuse a setting that does not exist, with the name nearest to it.

    Raises:
        SetupError: names the first such setting.
    """
    for word in words:
        if word not in names:
            near = difflib.get_close_matches(str(word), names, n=1, cutoff=0)
            raise SetupError(f"{where}: there is no {word!r}; the nearest name is {near[0]!r}")


def assignments(words: Sequence[str], where: str = "--set") -> dict[str, Any]:
    """Read ``NAME=VALUE`` words; values are YAML."""
    import yaml

    values = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise SetupError(f"{where}: expected NAME=VALUE, got {word!r}")
        values[name] = yaml.safe_load(value)
    return values


def bands(words: Sequence[str]) -> list[str] | dict[str, list[str]]:
    """Read the names of bands: ``B04 B03``, or by modality ``S2L1C=B04,B03 S1GRD=vv``.

    Raises:
        SetupError: where both are mixed, or a modality has no band.
    """
    if not any("=" in word for word in words):
        return list(words)
    chosen = {}
    for word in words:
        modality, _, names = word.partition("=")
        chosen[modality] = [name for name in names.split(",") if name]
        if not modality or not chosen[modality]:
            raise SetupError(f"--bands: expected NAME, or MODALITY=NAME,NAME, got {word!r}")
    return chosen


def options(method: Method, values: Mapping[str, Any]) -> dict[str, Any]:
    """Check a method's options, and give each the type of its default.

    Raises:
        SetupError: names the option that does not exist or is of another type.
    """
    defaults = dataclasses.asdict(method.Options())
    known(values, defaults or {"none"}, "--set or options")
    return {name: fitting(f"option {name}", v, defaults[name]) for name, v in values.items()}


def made(options: type[Any], values: Mapping[str, Any], where: str) -> Any:
    """A dataclass of options, some set to values; see `options`.

    Raises:
        SetupError: names the option that does not exist, is of another type, or does not fit.
    """
    defaults = dataclasses.asdict(options())
    known(values, defaults or {"none"}, where)
    return options(**{n: fitting(f"{where} {n}", v, defaults[n]) for n, v in values.items()})


def fitting(name: str, value: Any, like: Any) -> Any:
    """A value as the type of another one, where nothing is lost by that.

    Raises:
        SetupError: names the setting and says what was expected.
    """
    kind = type(like)
    if like is None or type(value) is kind:
        return value
    try:
        if kind in (int, float) and not isinstance(value, bool):
            number = kind(value)
            if float(number) == float(value):
                return number
        elif kind is tuple:
            return tuple(fitting(name, v, like[0]) for v in value) if like else tuple(value)
    except (TypeError, ValueError):
        pass
    raise SetupError(f"{name}: expected {kind.__name__}, as in {like!r}, got {value!r}")
