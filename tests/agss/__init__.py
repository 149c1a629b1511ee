"""A plug-in model: a package of its own that plugs a network of another kind into vostool."""
