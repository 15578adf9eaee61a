"""What a run leaves on disk: its folder, record, weights and predictions."""
