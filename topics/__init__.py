"""The contract: what flows. Knows nothing of the models or the processor."""
