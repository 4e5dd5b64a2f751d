"""Small measurements: the proof for whatever is written oddly for speed."""
