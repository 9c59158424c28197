"""How fast is it? Against the limit, which is the server it stands on, and against its peers."""
