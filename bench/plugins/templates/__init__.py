"""Starting points that `bench new-method` and `bench new-dataset` copy."""
