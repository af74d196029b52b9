"""Whose access: keys and tokens as the clouds' own tools keep them.

What stands in the environment, and in AWS's two files, is read here. All other ways (roles,
single sign-on, a machine's own identity; Google's accounts) are botocore's and google-auth's,
which the extra `remote` brings.
"""

import configparser
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastload.extras import missing
from fastload.storage.remote.signature import Keys

KeysNow = Callable[[], Keys]


def aws_keys() -> KeysNow | None:
    """What gives AWS's keys of the moment; None where there are none, which means anonymous."""
    environ = os.environ
    if environ.get("AWS_ACCESS_KEY_ID") and environ.get("AWS_SECRET_ACCESS_KEY"):
        keys = Keys(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"],
                    environ.get("AWS_SESSION_TOKEN"))  # fmt: skip
        return lambda: keys
    kept = _of_file()
    if kept is not None:
        return lambda: kept
    return _of_botocore()


def region() -> str | None:
    """AWS's region, as the environment or the profile has it."""
    found = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return found or _profile("AWS_CONFIG_FILE", "config").get("region")


def _profile(variable: str, name: str) -> dict[str, str]:
    """The user's profile in one of AWS's files."""
    profile = os.environ.get("AWS_PROFILE") or os.environ.get("AWS_DEFAULT_PROFILE") or "default"
    parser = configparser.RawConfigParser()
    try:
        parser.read(Path(os.environ.get(variable) or f"~/.aws/{name}").expanduser())
    except (OSError, RuntimeError, configparser.Error, UnicodeDecodeError):
        return {}
    for section in (profile, f"profile {profile}"):
        if parser.has_section(section):
            return dict(parser.items(section))
    return {}


def _of_file() -> Keys | None:
    for variable, name in (("AWS_SHARED_CREDENTIALS_FILE", "credentials"),
                           ("AWS_CONFIG_FILE", "config")):  # fmt: skip
        found = _profile(variable, name)
        if "aws_access_key_id" in found and "aws_secret_access_key" in found:
            return Keys(found["aws_access_key_id"], found["aws_secret_access_key"],
                        found.get("aws_session_token"))  # fmt: skip
    return None


def _of_botocore() -> KeysNow | None:
    try:
        from botocore.session import Session
    except ImportError:
        return None
    found = Session().get_credentials()
    if found is None:
        return None

    def keys() -> Keys:
        now = found.get_frozen_credentials()
        return Keys(now.access_key, now.secret_key, now.token)

    return keys


class GoogleToken:
    """Google's access tokens, of the default credentials; safe in threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: Any = None

    def __call__(self) -> str:
        """A token that is valid now.

        Raises:
            ImportError: where google-auth is not installed.
            OSError: where it finds no credentials.
        """
        if token := os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
            return token
        try:
            import google.auth
            from google.auth.exceptions import GoogleAuthError
            from google.auth.transport.urllib3 import Request
        except ImportError as error:
            advice = "or give anonymous=True for public buckets"
            raise missing("gs:// with an account needs google-auth", "remote", advice) from error
        with self._lock:
            try:
                if self._found is None:
                    scope = "https://www.googleapis.com/auth/devstorage.read_only"
                    self._found, _ = google.auth.default(scopes=[scope])
                if not self._found.valid:
                    self._found.refresh(Request())
            except GoogleAuthError as error:
                raise OSError(f"Google gives no access ({error})") from error
            return str(self._found.token)

    def __reduce__(self) -> Any:
        return GoogleToken, ()


def has_google() -> bool:
    """Whether an account of Google's is set up on this machine, as far as files tell."""
    if {"GOOGLE_OAUTH_ACCESS_TOKEN", "GOOGLE_APPLICATION_CREDENTIALS"} & set(os.environ):
        return True
    try:
        home = Path(os.environ.get("CLOUDSDK_CONFIG") or "~/.config/gcloud").expanduser()
        return (home / "application_default_credentials.json").is_file()
    except RuntimeError:
        return False


def hub_token() -> str | None:
    """The Hugging Face hub's token, as its own library finds it."""
    if os.environ.get("HF_HUB_DISABLE_IMPLICIT_TOKEN", "").upper() in ("1", "TRUE", "YES", "ON"):
        return None
    token = os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN")
    if not token:
        try:
            home = os.environ.get("HF_HOME") or "~/.cache/huggingface"
            path = Path(os.environ.get("HF_TOKEN_PATH") or f"{home}/token").expanduser()
            token = path.read_text().strip()
        except (OSError, RuntimeError):
            return None
    return token.strip() or None
