"""Reading the description of a service."""

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastload.extras import missing
from fastload.gather.search.services.service import MODALITIES, OPTIONS, PROPERTIES, Served, Service

FOLDER = Path(__file__).parent
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
"""Services that are described here."""
_KINDS = {str: "text", bool: "true or false", dict: "a mapping of text to text"}


def service(name: str, like: str | None = None) -> Service:
    """A service by its name, by a file that describes it, or by its URL.

    Args:
        name: one of `SHIPPED`; or the path of a YAML or JSON file; or the URL of a STAC API.
        like: for a URL, the service whose collections and assets it has; "earth-search" by default.

    Raises:
        ValueError: where there is no such service, or the description is not sound; names the file,
            the entry and what was expected.
        ImportError: where a YAML file is to be read and PyYAML is not installed.
    """
    if name in SHIPPED:
        return _of_file(FOLDER / f"{name}.yaml")
    if name.startswith(("http://", "https://")):
        return _of_url(name, service(like or "earth-search"))
    path = Path(name).expanduser()
    if path.suffix not in (".yaml", ".yml", ".json") or not path.is_file():
        raise ValueError(
            f"service {name!r}: expected one of {', '.join(SHIPPED)}, a URL, or a .yaml or .json "
            "file that is there"
        )
    return _of_file(path)


def _of_url(url: str, like: Service) -> Service:
    """A catalogue elsewhere that is built as another one. Secrets stay with that one; where the
    files lie, and who pays for reading them, is not known."""
    _check_url(url, "service", "its address")
    host = urlsplit(url).hostname or url
    served = {name: replace(one, requester_pays=False) for name, one in like.modalities.items()}
    return Service(host, url.rstrip("/"), served, like.token)


def _of_file(path: Path) -> Service:
    content = _parsed(path)
    where = str(path)
    _check_keys(content, {f.name for f in fields(Service)}, ("url", "modalities"), where)
    url = _text(content, "url", where)
    _check_url(url, where, "url")
    modalities = _mapping(content, "modalities", where)
    if not modalities:
        raise ValueError(f"{where}, modalities: expected at least one of {', '.join(MODALITIES)}")
    served = {name: _served(name, entry, where) for name, entry in modalities.items()}
    if token := _text(content, "token", where, ""):
        _check_url(token, where, "token")
    return Service(
        _text(content, "name", where, path.stem), url.rstrip("/"), served, token,
        _texts(content, "headers", where), _options(content, where),
    )  # fmt: skip


def _options(content: Mapping[str, Any], where: str) -> dict[str, str | bool]:
    found = _mapping(content, "options", where)
    _check_names(found, tuple(OPTIONS), f"{where}, options")
    return {name: _entry(found, name, f"{where}, options", OPTIONS[name], None) for name in found}


def _parsed(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else _yaml(text, str(path))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: cannot be read as the description of a service ({error})"
                         ) from error  # fmt: skip
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a mapping with url and modalities")
    return content


def _yaml(text: str, where: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise missing(f"{where} needs PyYAML", "gather", "write it as JSON") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: no YAML ({error})") from error


def _served(name: str, entry: Any, file: str) -> Served:
    where = f"{file}, modalities.{name}"
    if name not in MODALITIES:
        raise ValueError(f"{where}: unknown, expected one of {', '.join(MODALITIES)}")
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: expected a mapping with collection and bands")
    known = {f.name for f in fields(Served)} - {"modality"}
    _check_keys(entry, known, ("collection", "bands"), where)
    bands, properties = _texts(entry, "bands", where), _texts(entry, "properties", where)
    _check_names(bands, MODALITIES[name], f"{where}.bands")
    _check_names(properties, tuple(PROPERTIES), f"{where}.properties")
    if not bands:
        raise ValueError(f"{where}.bands: expected some of {', '.join(MODALITIES[name])}")
    offset = entry.get("offset")
    if offset not in (None, 0, 1000) or isinstance(offset, bool):
        raise ValueError(f"{where}.offset: expected 0 or 1000, got {offset!r}")
    # What is not said of radar in the sensor's geometry is that it is geocoded.
    geocoded = _flag(entry, "geocoded", where, name != "S1GRD")
    return Served(
        name, _text(entry, "collection", where), bands, _flag(entry, "dated", where, name != "DEM"),
        properties, offset, geocoded, _flag(entry, "requester_pays", where, False),
    )  # fmt: skip


def _check_keys(
    content: Mapping[str, Any], known: set[str], needed: tuple[str, ...], where: str
) -> None:
    if strange := [key for key in content if key not in known]:
        raise ValueError(f"{where}: unknown entry {strange[0]!r}, expected {sorted(known)}")
    if lacking := [key for key in needed if key not in content]:
        raise ValueError(f"{where}: has no entry {lacking[0]!r}")


def _check_names(found: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    if strange := [name for name in found if name not in known]:
        raise ValueError(f"{where}: unknown {strange[0]!r}, expected some of {', '.join(known)}")


def _check_url(url: str, where: str, entry: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{where}, {entry}: expected http:// or https:// and a host, got {url!r}")
    if "@" in parts.netloc or parts.query:
        raise ValueError(
            f"{where}, {entry}: expected an address without user, password and query; secrets come "
            "from the environment, see headers"
        )


def _entry(content: Mapping[str, Any], key: str, where: str, kind: type, default: Any) -> Any:
    value = content.get(key, default)
    if not isinstance(value, kind):
        raise ValueError(f"{where}, {key}: expected {_KINDS[kind]}, got {value!r}")
    return value


def _text(content: Mapping[str, Any], key: str, where: str, default: str | None = None) -> str:
    return str(_entry(content, key, where, str, default))


def _flag(content: Mapping[str, Any], key: str, where: str, default: bool) -> bool:
    return bool(_entry(content, key, where, bool, default))


def _mapping(content: Mapping[str, Any], key: str, where: str) -> dict[Any, Any]:
    return dict(_entry(content, key, where, dict, {}))


def _texts(content: Mapping[str, Any], key: str, where: str) -> dict[str, str]:
    found = _mapping(content, key, where)
    for name, value in found.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ValueError(f"{where}, {key}.{name}: expected text, got {value!r}")
    return found
