"""Samples that are zarr groups in tars and zips."""
