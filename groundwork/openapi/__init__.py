"""What the API is: its description for tools, and a page of it for people."""
