"""What the worker serves over HTTP beside the stream, in a thread of its own: API, live page, metrics, health."""

from stream_app.web.context import StreamBusy, WebContext
from stream_app.web.server import WebServer

__all__ = ["StreamBusy", "WebContext", "WebServer"]
