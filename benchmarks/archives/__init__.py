"""Made archives in the true layouts, at true sizes for benchmarks and tiny ones for tests."""
