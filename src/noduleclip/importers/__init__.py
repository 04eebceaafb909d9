"""Collections of nodules as they are published, each read to the same marks, and from marks to the ROI table."""
