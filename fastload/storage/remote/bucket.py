"""A prefix of a bucket: S3 and all that speak its language, and Google Cloud Storage, whose XML
interface speaks it too."""

import os
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import Any

from fastload.storage.remote.client import Asked, Headers
from fastload.storage.remote.credentials import GoogleToken, aws_keys, has_google, region
from fastload.storage.remote.host import Ask, Host, Listing, quoted
from fastload.storage.remote.signature import Keys, query, signed
from fastload.storage.remote.trouble import Refused, Trouble
from fastload.storage.store import Stat

_GOOGLE = "https://storage.googleapis.com"
_PAYER = "x-amz-request-payer"
"""That whoever asks pays, as buckets such as those of Sentinel-2 L1C want it; sent where
`AWS_REQUEST_PAYER` says so, which GDAL heeds, too."""


class Bucket(Host):
    """See `Host`; the parts of a bucket that all dialects share."""

    scheme = "s3"
    most_keys: int | None = None
    """Names of a page of a listing at most; None: as many as the server gives, a thousand."""

    def __init__(self, bucket: str, prefix: str, base: str) -> None:
        """`base`: the URL that keys are joined to."""
        self.bucket, self._prefix, self._base = bucket, prefix, base
        self.place = f"{self.scheme}://{bucket}" + (f"/{prefix.rstrip('/')}" if prefix else "")

    def below(self, name: str) -> "Bucket":
        """See `Host.below`."""
        other = type(self).__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._prefix = f"{self._prefix}{name}/"
        other.place = f"{self.place}/{name}"
        return other

    def identity(self) -> str:
        """See `Host.identity`."""
        return f"{self.place} at {self._base}"

    def sign(self, method: str, url: str) -> Headers:
        """Headers that give access to a URL."""
        return {}

    def ask(self, name: str, method: str = "GET") -> Asked:
        """See `Host.ask`."""
        url = f"{self._base}/{quoted(self._prefix + name)}"
        return Asked(url, self.sign(method, url), method)

    def list(self, ask: Ask) -> Listing:
        """See `Host.list`."""
        found, n = Listing(), len(self._prefix)
        for page in self._pages(ask, "/"):
            for item in page.iter("Contents"):
                key = item.findtext("Key", "")
                if key[n:]:  # not the marker of the folder itself
                    tag = item.findtext("ETag", "").strip('"') or item.findtext("LastModified", "")
                    found.files[key[n:]] = Stat(int(item.findtext("Size", "0")), tag)
            for item in page.iter("CommonPrefixes"):
                found.folders.add(item.findtext("Prefix", "")[n:].rstrip("/"))
        if not found.files and not found.folders:
            raise FileNotFoundError(f"{self.place}: there is nothing by that prefix")
        return found

    def walk(self, ask: Ask) -> Iterator[str] | None:
        """See `Host.walk`."""
        n = len(self._prefix)
        keys = (i.findtext("Key", "") for p in self._pages(ask, "") for i in p.iter("Contents"))
        return (key[n:] for key in keys if key[n:] and not key.endswith("/"))

    def _pages(self, ask: Ask, delimiter: str) -> Iterator[ET.Element]:
        """The pages of a listing, a thousand keys each, names unquoted."""
        token = ""
        while True:
            asked = {"list-type": "2", "prefix": self._prefix, "encoding-type": "url"}
            asked |= {"delimiter": delimiter} if delimiter else {}
            asked |= {"continuation-token": token} if token else {}
            asked |= {"max-keys": str(self.most_keys)} if self.most_keys else {}
            page = ask(self._list_url(asked))
            if page.status == 404:
                raise FileNotFoundError(f"{self.place}: there is no bucket {self.bucket!r}")
            if page.status != 200:
                raise Refused(f"it cannot be listed (HTTP {page.status})")
            root = self._parsed(page.content)
            yield root
            token = root.findtext("NextContinuationToken", "")
            if root.findtext("IsTruncated", "false") != "true" or not token:
                return

    def _list_url(self, parameters: dict[str, str]) -> Asked:
        url = f"{self._base}/?{query(parameters)}"
        return Asked(url, self.sign("GET", url))

    def _parsed(self, content: bytes) -> ET.Element:
        try:
            root = ET.fromstring(content)
        except ET.ParseError as error:
            raise Trouble(f"the list of files makes no sense ({error})") from error
        encoded = root.findtext("{*}EncodingType") == "url"
        for item in root.iter():
            item.tag = item.tag.rpartition("}")[2]
            if encoded and item.tag in ("Key", "Prefix") and item.text:
                item.text = urllib.parse.unquote_plus(item.text)
        return root


class S3(Bucket):
    """See `Bucket`."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint: str | None,
        region_name: str | None,
        anonymous: bool | None,
    ) -> None:
        """What is None is as the environment and AWS's files have it."""
        environ = os.environ
        endpoint = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
        known = region_name or region()
        self.region = known or "us-east-1"
        if endpoint:
            base = f"{endpoint.rstrip('/')}/{bucket}"
        elif "." in bucket:  # no certificate is for such a name
            base = f"https://s3.{self.region}.amazonaws.com/{bucket}"
        else:
            # Without a region this is the name by which buckets of all regions are found (AWS,
            # "Request routing"); who signs, and for the wrong one, is told the right one.
            base = f"https://{bucket}.s3{f'.{known}' if known else ''}.amazonaws.com"
        super().__init__(bucket, prefix, base)
        if anonymous is None:
            anonymous = _yes("AWS_NO_SIGN_REQUEST") or _yes("AWS_SKIP_SIGNATURE")
        self._anonymous = anonymous
        self._keys = None if anonymous else aws_keys()

    def sign(self, method: str, url: str) -> Headers:
        """See `Bucket.sign`."""
        keys: Keys | None = None if self._keys is None else self._keys()
        payer = {_PAYER: "requester"} if os.environ.get("AWS_REQUEST_PAYER") == "requester" else {}
        return {} if keys is None else signed(method, url, keys, self.region, more=payer)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_keys": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Keys do not travel: the other process finds its own."""
        self.__dict__.update(state)
        self._keys = None if self._anonymous else aws_keys()


class Google(Bucket):
    """See `Bucket`."""

    scheme = "gs"

    def __init__(
        self, bucket: str, prefix: str, endpoint: str | None, anonymous: bool | None
    ) -> None:
        """Anonymous by default where no account is set up."""
        endpoint = endpoint or os.environ.get("STORAGE_EMULATOR_HOST") or _GOOGLE
        endpoint = endpoint if "://" in endpoint else f"http://{endpoint}"
        super().__init__(bucket, prefix, f"{endpoint.rstrip('/')}/{bucket}")
        anonymous = not has_google() if anonymous is None else anonymous
        self._token = None if anonymous else GoogleToken()

    def sign(self, method: str, url: str) -> Headers:
        """See `Bucket.sign`."""
        if self._token is None:
            return {}
        try:
            return {"Authorization": f"Bearer {self._token()}"}
        except OSError as error:
            raise Refused(str(error)) from error


def _yes(variable: str) -> bool:
    return os.environ.get(variable, "").lower() in ("1", "true", "yes", "on")
