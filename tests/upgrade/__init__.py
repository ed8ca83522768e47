"""A database of an earlier version, and the script that wrote it."""
