"""How fast and how large: our way beside the published one, measured in turns in one process."""
