"""Names of the files of an export: several of one format, and the folder of its pictures."""

from pathlib import Path


def number_files(path: Path, suffix: str, count: int) -> list[Path]:
    """Return the names of an export of several files, which sort by number: `hits-01.mrk.json` to `hits-12.mrk.json`.

    One file has its own name.

    Args:
        path: The file that the user named.
        suffix: Its ending, in any case.
        count: Number of files.
    """
    if count <= 1:
        return [path]
    stem, ending = path.name[: -len(suffix)], path.name[-len(suffix) :]
    digits = len(str(count))
    return [path.with_name(f"{stem}-{number:0{digits}}{ending}") for number in range(1, count + 1)]


def name_image_folder(path: Path) -> Path:
    """Return the folder of the pictures of an export: `hits_images` beside `hits.json`."""
    return path.with_name(f"{path.stem}_images")
