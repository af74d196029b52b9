"""Blosc frames, taken apart so that they can be decoded elsewhere."""
