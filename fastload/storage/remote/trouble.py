"""What a server or the way to it may answer instead of bytes, each as the error that it is."""

import errno
import http.client
import ssl


class Trouble(OSError):  # noqa: N818
    """The storage failed, and asking again may help.

    Attributes:
        wait: seconds that the server asks for before that; None where it says nothing.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(errno.EIO, reason)
        self.reason, self.wait = reason, wait


class Refused(OSError):  # noqa: N818
    """The storage answers, and asking again does not help: no access, no byte ranges."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EIO, reason)
        self.reason = reason


class Denied(Refused):
    """No access with the signature or token that was sent, which may have expired."""


class Gone(OSError):  # noqa: N818
    """What was asked for is not there, or is not what it was: the data's fault."""

    def __init__(self, reason: str, missing: bool = False) -> None:
        """`missing`: there is no such file."""
        super().__init__(errno.ENOENT, reason)
        self.reason, self.missing = reason, missing


def of_connection(error: BaseException) -> Trouble | Refused:
    """The error of a connection that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Refused(f"the server's certificate is not trusted ({error.verify_message})")
    if isinstance(error, TimeoutError):
        return Trouble("the server did not answer in time")
    if isinstance(error, http.client.InvalidURL):
        return Refused(f"the URL cannot be asked for ({error})")
    text = str(error) or type(error).__name__
    return Trouble(f"the connection failed ({type(error).__name__}: {text})")
