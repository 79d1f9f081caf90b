"""Whole volumes: folds found, slices restored and chunks written, task by task, resumable."""
