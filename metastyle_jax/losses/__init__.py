"""Style distances, sums of them, and the perceptual objective: pure functions of features."""
