"""`vostool eval`: predict, score, report, compare."""
