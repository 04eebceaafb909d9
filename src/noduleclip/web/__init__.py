"""The explorer: a local web page that shows how a sentence is parsed and which nodules it finds."""
