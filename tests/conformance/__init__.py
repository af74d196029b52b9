"""One suite per seam: subclass it, give it a factory, and get all its tests.

A new store, source, mover or target is conformant where its subclass passes, see `test_toys` for
the smallest ones. The suites are in `store`, `source`, `mover` and `target`.
"""
