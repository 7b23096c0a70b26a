"""From a raw event log to what models learn from: reading, cleaning, numbering, windows and features."""

from tsrec_models.preparation.log import Log, LogError

__all__ = ["Log", "LogError"]
