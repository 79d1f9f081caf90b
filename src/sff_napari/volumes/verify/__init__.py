"""Record what was done to a volume, and check a volume against its record."""
