"""Train the networks that add detail to slices at low magnification."""
