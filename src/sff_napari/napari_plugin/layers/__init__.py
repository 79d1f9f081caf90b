"""Layers of the viewer: fold lines, results, and image layers read as stacks."""
