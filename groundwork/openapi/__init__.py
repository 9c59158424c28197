"""The API description, and a page to read it."""
