"""The Redis state of the watch: its position, what it requested and deferred, and the index of links.

The rules of the watch are in `jobs.watch`. Each change of the state that has to be atomic is one Lua script.
"""
