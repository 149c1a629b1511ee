"""A loaded network at work on a video."""
