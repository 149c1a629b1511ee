"""`vostool bench`: how fast the tool runs on this machine."""
