"""Batches that an earlier version of the loader gave, and whether this one gives the same."""
