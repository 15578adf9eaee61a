"""What a number means: protocols, and how predictions become rows under them."""
