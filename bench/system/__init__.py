"""What the harness needs of the machine: files that are whole or absent, the terminal, signals, seeds, provenance."""
