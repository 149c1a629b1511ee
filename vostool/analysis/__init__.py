"""`vostool erf` and `vostool spectrum`: what the cycle shows about a network."""
