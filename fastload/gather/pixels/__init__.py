"""From the files of scenes to the samples of shards."""
