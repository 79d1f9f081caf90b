"""What the widgets call: detection, line editing, restoration, review, history, autosave."""
