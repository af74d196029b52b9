"""Samples that lie raw in the tensors of `.pth` files."""
