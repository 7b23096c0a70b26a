"""The processor: Faust, Kafka, state, serving."""
