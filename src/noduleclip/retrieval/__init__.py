"""Exact Top-K search and fusion with measured values, in numpy; the encoders of a query without torch."""
