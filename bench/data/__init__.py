"""The cases of a dataset at a preset's grid: prepared scans or phantoms, split, projected, cached."""
