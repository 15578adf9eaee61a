"""Lifted views and a 3-D U-Net: the strong simple baseline that a new method has to beat."""
