"""Robustness studies: one question about trained methods each, answered by a CSV and a plot."""
