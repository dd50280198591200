"""Pictures drawn by rules, for training without data."""
