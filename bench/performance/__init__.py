"""How fast and how large: our way beside the published one, measured alternately in one run."""
