"""Response heads as bytes; all of it is for C callers."""
