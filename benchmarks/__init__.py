"""Benchmarks: an asv suite over Weft's modes (`suites`), and a table against other libraries (`python -m benchmarks`)."""
