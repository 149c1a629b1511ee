"""Data sets on disk: their folders, and the annotated sequences in them."""
