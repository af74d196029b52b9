"""Scenes of any size, in files of whole images, cut into windows of one size."""
