"""Top-K search, fusion with the measured diameter, and the metrics. Knows no torch and no files."""
