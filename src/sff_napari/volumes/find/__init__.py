"""Find the folds and the missing slices of a whole volume."""
