"""Undo what folds did: the fold's law and its fit, or the paper's network."""
