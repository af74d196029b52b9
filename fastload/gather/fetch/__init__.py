"""A gathering from its plan to its shards: what is done is kept, what is left goes on."""
