"""Work in other threads: jobs, and the functions that run in them."""
