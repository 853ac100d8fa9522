"""What the worker is told: settings from the environment, and how it logs."""
