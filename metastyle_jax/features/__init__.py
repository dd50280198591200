"""Feature networks: where their weights come from, and how to tell them apart."""
