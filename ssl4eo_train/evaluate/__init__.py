"""Downstream numbers of a checkpoint: ``python -m ssl4eo_train.evaluate``.

A `Task` is labelled data with splits, a `Protocol` what is done with a backbone on them. The way of
the data: task → `Bench` (views, bands by name, radiometry of the checkpoint) → protocol →
`Outcome` → metrics → ``result.json``, report and tables.
"""
