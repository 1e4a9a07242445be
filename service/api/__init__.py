"""The HTTP API: routes, authentication, middleware, event streams and downloads."""
