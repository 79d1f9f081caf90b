"""Join what was observed with what has to be made up."""
