"""What people would otherwise start from, and what nothing on uvicorn can beat."""
