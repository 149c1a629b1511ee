"""Tensors to tensors: the network. Opens no file but checkpoints."""
