"""Style losses as pictures."""
