"""The contract: what flows. Knows nothing of the models or the processor."""

from topics.catalog import TOPICS, Catalog, Topic
from topics.dialect import Dialect
from topics.errors import ContractViolation, Reason, RecordError
from topics.spans import Spans

__all__ = ["TOPICS", "Catalog", "ContractViolation", "Dialect", "Reason", "RecordError", "Spans", "Topic"]
