"""Whether a data set is sound: its shards, keys, dates, pixels, radiometry and places."""

from fastload.verify.finding import Finding
from fastload.verify.verify import Report, verify

__all__ = ["Finding", "Report", "verify"]
