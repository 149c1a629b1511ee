"""vostool cuts objects out of videos: a first-frame mask in, masks and overlays out."""

__version__ = "0.1.0"
