"""Folders to sequences and training clips."""
