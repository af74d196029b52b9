"""Figures of a test split, with their intervals, and published ones."""
