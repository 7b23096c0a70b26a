"""Risk: market risk and its backtests, anomalies, fraud, credit, surveillance, and the alerts made of them."""
