"""Faults on purpose: what a run, its data and its results must survive, tried again and again by `bench faults`."""
