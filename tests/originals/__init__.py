"""What the originals of the methods gave, and whether ours give the same."""
