"""The HTTP API for apps that cannot reach Redis."""
