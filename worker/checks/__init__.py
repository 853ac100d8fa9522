"""The checks of `customer-sync doctor`: settings, Redis, both services, and the owner of the keys. They only read."""
