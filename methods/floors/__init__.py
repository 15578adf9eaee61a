"""Floors: what the training cases, or geometry alone, say of a volume; any method must beat them."""
