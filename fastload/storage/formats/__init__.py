"""What shards are made of: tar, zip, zarr and the codecs of their chunks."""
