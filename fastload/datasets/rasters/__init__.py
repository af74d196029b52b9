"""Samples that are raster files: scenes of GeoTIFFs, and images."""
