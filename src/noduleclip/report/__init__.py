"""Presentation of results: tables, progress, terminal pictures, pages and plots."""
