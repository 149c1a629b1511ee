"""`vostool train`: a recipe in, weights out."""
