"""Workers that are wrong in one way each, for the checker to find: what never fails a test shows nothing."""
