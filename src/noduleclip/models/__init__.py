"""The two encoders, their losses, and their checkpoint."""
