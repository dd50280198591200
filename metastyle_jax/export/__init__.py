"""Files that leave the project: styles and whole parameter sets."""
