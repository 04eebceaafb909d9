"""The two encoders, their loss, and the checkpoint that holds them."""
