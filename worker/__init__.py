"""The processes, the loops inside them, and the command line."""
