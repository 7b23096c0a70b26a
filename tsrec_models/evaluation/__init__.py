"""Judging models on data they never saw. Ranking is always over all items, never over a sample of them."""
