"""DICOM, tables, crops and the files of an index: everything that touches a disk. Knows no torch."""
