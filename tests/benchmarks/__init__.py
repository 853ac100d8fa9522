"""What the worker costs and how fast it is, measured side by side with what people would otherwise write."""
