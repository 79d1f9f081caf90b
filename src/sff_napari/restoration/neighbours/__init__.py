"""The neighbouring slices: brightness, contrast and place brought to the damaged slice."""
