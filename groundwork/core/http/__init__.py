"""HTTP: middleware, problem details, request and response bodies, access control."""
