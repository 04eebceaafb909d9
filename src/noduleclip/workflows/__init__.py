"""The application: one module per task, from a typed request to a typed result.

Progress and notes go to callbacks. Nothing here prints, parses options, or ends the process, so that commands, the
explorer, benchmarks and notebooks call the same functions.
"""
