"""A Faust transport that hands over whole record batches, sends whole batches and commits by checkpoint.

Registered as `tsrec` in the entry-point group `faust.transports`: an app uses it by a broker URL of that scheme.
"""

from stream_app.transport.driver import Transport
from stream_app.transport.outbox import Outbox
from stream_app.transport.records import RecordBatch
from stream_app.transport.topic import BatchSchema

__all__ = ["BatchSchema", "Outbox", "RecordBatch", "Transport"]
