"""What a number means: protocols, and how predictions become rows under them.

The default protocol's name stands here, because the command line reads it and must not import much.
"""

DEFAULT = "ct3d-2"  # of runs, of scoring, and of what is generated into the repository
