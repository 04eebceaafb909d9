"""The loops: training and embedding."""
