"""The scope of an exchange (ASGI HTTP specification, "HTTP Connection Scope"); all of it is for C callers."""
