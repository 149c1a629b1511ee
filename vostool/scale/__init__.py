"""Many jobs at once: one scheduler, and the pools of workers that it can use."""
