"""Draw the picture of the first page from an index of phantoms: `python docs/make_picture.py INDEX`."""

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from noduleclip.cli import main
from noduleclip.report import hit_table, tables

PICTURE = Path(__file__).parent / "images" / "query.svg"
COMMANDS = (
    ["query", "--query", "a lung nodule with diameter > 10 mm"],
    ["fuse", "--query", "between 0.6 and 1 cm", "--alpha", "0.3"],
)


def draw(index: str) -> None:
    """Run the commands with a recording console, and write their output as SVG."""
    console = Console(record=True, width=88, force_terminal=True, color_system="truecolor", file=io.StringIO())
    for module in (tables, hit_table):
        module.data_console = lambda: console  # type: ignore[attr-defined]
    for words in COMMANDS:
        shown = " ".join(f'"{word}"' if " " in word else word for word in [words[0], "--emb-dir", "index", *words[1:]])
        console.print(f"[bold]$ noduleclip {shown}[/]", highlight=False)
        try:
            main([*words, "--emb-dir", index, "--topk", "5", "--format", "table"])
        except SystemExit as end:
            if end.code:
                raise
    PICTURE.parent.mkdir(exist_ok=True)
    picture = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="noduleclip"), flags=re.DOTALL)
    PICTURE.write_text(picture, encoding="utf-8")  # without web fonts


if __name__ == "__main__":
    draw(sys.argv[1])
