"""Evaluation: the protocol, readers as baselines, metrics, estimates and probabilities, and published rules."""
