"""Makes a run and opens it again: fit, predict, score, verify, archive."""
