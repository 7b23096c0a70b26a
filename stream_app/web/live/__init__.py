"""The live page: what the worker decides, as it decides it, for people. Its files are served as they are, its data
comes as server-sent events; nobody watches, nothing is done."""

from stream_app.web.live.routes import routes

__all__ = ["routes"]
