"""A later version of the worker, for tests of two versions side by side."""
