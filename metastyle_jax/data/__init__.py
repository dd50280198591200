"""Pictures: decoding, folders, data sets, crops, and pictures drawn by rules."""
