"""Networks and training for tasks of a class, or a change, a pixel."""
