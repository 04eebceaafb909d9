"""The two towers, their loss, and the checkpoint that holds them."""
