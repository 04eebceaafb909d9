"""Exports of hits and of described nodules to the formats of other tools."""
