"""The target that is a device: frames are decoded and views made there, on one queue."""
