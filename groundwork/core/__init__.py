"""Code that every feature uses; imports no feature."""
