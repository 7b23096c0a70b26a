"""What the worker serves over HTTP beside the stream: metrics, health, readiness."""

from stream_app.web.server import WebServer

__all__ = ["WebServer"]
