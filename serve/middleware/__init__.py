"""Surround the routes: pure ASGI middleware, one concern a module, put together in `serve.api`."""
