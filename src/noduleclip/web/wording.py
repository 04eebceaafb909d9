"""Messages of a search in the words of the page, which has fields where the commands have options."""

from typing import Final

_FIELDS: Final = {
    "with --free-text": "with “Search anyway”",
    "--rule estimated uses estimates": "“measured, else estimated” uses estimates",
    "--where and --patients-file": "the filters",
    "--where": "the condition",
    "--min-probability": "a least probability",
    "--unique nodule": "“the best of each nodule”",
    "--dicom-root": "serve --dicom-root",
}
"""What the page calls an option; a longer text comes before its parts."""


def use_page_words(message: str) -> str:
    """Return a message with the names of the page's fields in place of options."""
    for option, words in _FIELDS.items():
        message = message.replace(option, words)
    return message
