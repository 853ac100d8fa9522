"""The Redis state of the watch: its position, what it requested and deferred, and the index of links.

The rules of the watch are in `jobs.watch`. Only Lua scripts write the state.
"""
