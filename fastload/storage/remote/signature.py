"""AWS signature version 4, in a request's headers.

Source: AWS, "Create a signed AWS API request"; for S3 a path is quoted once, and the body may be
left out (`UNSIGNED-PAYLOAD`).
"""

import hashlib
import hmac
import urllib.parse
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

_BODY = "UNSIGNED-PAYLOAD"


class Keys(NamedTuple):
    """An access key, its secret, and the token of one that lasts only for some time."""

    id: str
    secret: str
    token: str | None = None


def query(parameters: dict[str, str]) -> str:
    """Parameters as a URL has them: sorted, all but unreserved letters quoted."""
    quote = urllib.parse.quote
    pairs = sorted((quote(k, safe="~"), quote(v, safe="~")) for k, v in parameters.items())
    return "&".join(f"{k}={v}" for k, v in pairs)


def signed(
    method: str,
    url: str,
    keys: Keys,
    region: str,
    now: datetime | None = None,
    more: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers that sign a request for a URL, which is quoted and its query as `query` has it.

    A range may be asked for besides, and is not signed; `more` are headers that are.
    """
    parts = urllib.parse.urlsplit(url)
    time = (now or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    headers = {"host": parts.netloc, "x-amz-content-sha256": _BODY, "x-amz-date": time}
    headers |= more or {}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    request = "\n".join([method, parts.path or "/", parts.query, lines, names, _BODY])
    scope = f"{time[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}"
    key = f"AWS4{keys.secret}".encode()
    for part in (time[:8], region, "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.new(key, text.encode(), "sha256").hexdigest()
    del headers["host"]  # the client sends it
    headers["Authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={keys.id}/{scope},SignedHeaders={names},Signature={signature}"
    )
    return headers
