"""Volumes of CT values or of masks in single files: NIfTI, NRRD, MetaImage."""
