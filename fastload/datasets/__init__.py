"""Layouts on disk, one file each; all give the same catalogue of chunks."""
