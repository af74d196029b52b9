"""What came of gathering, or what a plan would gather: figures as JSON, and one offline page."""

from fastload.gather.report.making import Look, report

__all__ = ["Look", "report"]
