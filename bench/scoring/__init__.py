"""What a number means: protocols, and how predictions become rows under them.

The names of two protocols stand here, because the command line reads them and must not import much.
"""

DEFAULT = "ct3d-2"  # of runs and scoring
PUBLISHED = "ct3d-1"  # of what is generated into the repository: the committed results have no other of ours
