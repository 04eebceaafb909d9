"""CT slices from DICOM files: headers, pixels in Hounsfield units, frames, and derived CT."""
