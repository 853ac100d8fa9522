"""Benchmarks of the worker's cost and speed, measured side by side with what people would otherwise write."""
