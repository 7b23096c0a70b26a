"""The models: numpy, numba and torch. Knows nothing of Kafka; usable in a notebook."""
