"""Readers of CT files, one module a format: `find(paths)` names what is there, `read(source)` reads one of it."""
