"""Masks of a frame, made from drawn shapes or the files of other tools, to follow objects from."""
