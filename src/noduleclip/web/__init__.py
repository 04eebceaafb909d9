"""The explorer: a page on this machine that shows how a sentence is read and what it finds."""
