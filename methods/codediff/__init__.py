"""CodeDiff3D (ICCV 2023) and its ceiling, the vector-quantised encoding of the true volume."""
