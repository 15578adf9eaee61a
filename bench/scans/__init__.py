"""Real scans of any dataset: read from their formats, prepared, checked, exported."""
