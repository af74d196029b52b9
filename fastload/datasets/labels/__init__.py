"""Labels of samples, from tables and from what archives have."""
