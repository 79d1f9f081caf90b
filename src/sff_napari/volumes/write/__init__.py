"""Write chunks, derived arrays and coarser levels; copy what is not changed."""
