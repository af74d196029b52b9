"""Bytes: the index of a shard, zip and zarr headers, codecs and byte ranges."""
