"""`vostool segment`: a video and the masks of some frames in, those of every frame out."""
