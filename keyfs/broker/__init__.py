"""The use cases: list, stat, read, rotate, destroy, check."""
