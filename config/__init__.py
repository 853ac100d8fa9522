"""The settings from the environment, and the log format."""
