"""Feature networks by name: where their weights come from and how they are kept."""
