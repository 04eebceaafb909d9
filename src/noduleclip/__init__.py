"""Find lung nodules in CT by what is said of their size.

Importing the package costs nothing: the commands import what they need when they run.
"""

__version__ = "0.1.0"
