"""Is this instance alive, is it ready, and how is it doing? The pattern for the next features."""
