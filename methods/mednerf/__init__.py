"""MedNeRF (EMBC 2022): a generative radiance field, tuned to the views of a case."""
