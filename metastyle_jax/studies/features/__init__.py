"""What feature networks tell apart, and draw."""
