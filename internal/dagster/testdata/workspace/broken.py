"""A code location that does not load."""

raise RuntimeError("this code location is broken")
