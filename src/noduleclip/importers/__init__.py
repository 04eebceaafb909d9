"""Published collections of nodules: parsers of each format, and the ROI table made of their annotations."""
