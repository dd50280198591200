"""Training of a small feature network: teachers and contrast between pictures."""
