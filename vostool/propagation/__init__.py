"""The papers' method: the frame loop, the cycle loss and the gradient correction."""
