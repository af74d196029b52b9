"""What came of gathering, or what a plan would gather: figures as JSON, and one offline page.

`fastload.gather.report.making.report` writes both.
"""
