"""Inference: a loaded network applied to a video."""
