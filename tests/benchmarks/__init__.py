"""Benchmarks of the worker's cost and speed, beside the code that people would write without it."""
