"""Indexes: embeddings with the metadata of their rows, in a folder or a Lance store."""
