"""Evaluation: the protocol, metrics, readers as baselines, curves and breakdowns."""
