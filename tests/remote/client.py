"""Writes to an S3 server, by signed requests."""

import os
import urllib.request

from fastload.storage.remote.host import quoted
from fastload.storage.remote.signature import Keys, signed


class Bucket:
    """A bucket of its own at the endpoint that the environment names."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._send("", b"")

    def put(self, key: str, data: bytes | None) -> None:
        self._send(f"/{quoted(key)}", data)

    def _send(self, path: str, data: bytes | None) -> None:
        url = f"{os.environ['AWS_ENDPOINT_URL']}/{self.name}{path}"
        method = "DELETE" if data is None else "PUT"
        keys = Keys(os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"])
        headers = dict(signed(method, url, keys, "us-east-1"))
        headers["x-amz-acl"] = "public-read"
        headers["Content-Type"] = "application/octet-stream"
        request = urllib.request.Request(url, data, headers, method=method)
        urllib.request.urlopen(request, timeout=10).close()
