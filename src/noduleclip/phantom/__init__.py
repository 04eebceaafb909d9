"""Synthetic patients of known sizes and ratings, for the demo and the tests."""
