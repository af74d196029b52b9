"""Classifiers of whole images: features, heads, and how they are trained."""
