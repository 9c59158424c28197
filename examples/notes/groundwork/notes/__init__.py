"""Notes: a title and a text each."""
