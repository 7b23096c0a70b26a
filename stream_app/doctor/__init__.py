"""`tsrec doctor`: what is ill, how badly, and what to do; checks of broker, topics, group, machine, model and settings.

Each check is a function that returns findings and changes nothing.
"""

from stream_app.doctor.examination import examine
from stream_app.doctor.findings import Finding, Severity, worst

__all__ = ["Finding", "Severity", "examine", "worst"]
