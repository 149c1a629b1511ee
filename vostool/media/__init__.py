"""Bytes to arrays and back: video, masks, overlay. Never imports torch."""
