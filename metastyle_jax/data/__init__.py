"""Where pictures come from: image files, folders, TFDS data sets, procedural scenes, batches."""
