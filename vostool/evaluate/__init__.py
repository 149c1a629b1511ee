"""Benchmarks: predict, score, tell, compare."""
