"""Training of the compact feature network."""
