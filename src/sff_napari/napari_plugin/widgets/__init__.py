"""Dock widgets, their sections, dialogs and windows."""
