"""Names that files carry: columns, file names, versions. Column names are quoted here only."""

from typing import Final

# Columns of the ROI table. x is the DICOM column and y the row, both 0-based; the box is inclusive.
DICOM_PATH: Final = "dicom_path"
FRAME: Final = "frame"
SPACING_ROW: Final = "pixel_spacing_row"
SPACING_COL: Final = "pixel_spacing_col"
DIAMETER_MM: Final = "diameter_mm"
DIAMETER_KIND: Final = "diameter_kind"
UNKNOWN_KIND: Final = "unknown"
"""Value of that column where a source does not say what its diameters are."""
VOLUME_MM3: Final = "volume_mm3"
DETECTION_SCORE: Final = "detection_score"
POINT_X: Final = "x"
POINT_Y: Final = "y"
CENTROID_X: Final = "centroid_x"
CENTROID_Y: Final = "centroid_y"
BBOX_XMIN: Final = "bbox_xmin"
BBOX_YMIN: Final = "bbox_ymin"
BBOX_XMAX: Final = "bbox_xmax"
BBOX_YMAX: Final = "bbox_ymax"
POINTS_JSON: Final = "points_json"
SERIES_UID: Final = "series_uid"
SOP_UID: Final = "sop_uid"
PATIENT_ID: Final = "patient_id"
NODULE_ID: Final = "nodule_id"
READER: Final = "reader"
X_MM: Final = "x_mm"
Y_MM: Final = "y_mm"
Z_MM: Final = "z_mm"
SLICE_THICKNESS: Final = "slice_thickness"
MANUFACTURER: Final = "manufacturer"
SUBTLETY: Final = "subtlety"
INTERNAL_STRUCTURE: Final = "internal_structure"
CALCIFICATION: Final = "calcification"
SPHERICITY: Final = "sphericity"
MARGIN: Final = "margin"
LOBULATION: Final = "lobulation"
SPICULATION: Final = "spiculation"
TEXTURE: Final = "texture"
MALIGNANCY: Final = "malignancy"

# Added while reading or by the commands.
CSV_ROW: Final = "csv_row"
ABSOLUTE_PATH: Final = "absolute_path"
CENTER_X: Final = "center_x_px"
CENTER_Y: Final = "center_y_px"
RANK: Final = "rank"
ROW: Final = "row"
QUERY: Final = "query"
SIMILARITY: Final = "similarity"
PROBABILITY: Final = "probability"
COSINE: Final = "cosine"
RULE: Final = "rule"
LIKENESS: Final = "likeness"
SCORE: Final = "score"
SATISFIES: Final = "satisfies"
REJECT_CODE: Final = "code"
REJECT_REASON: Final = "reason"

# Columns of the hits, first to last; the other metadata follow. Further ones are filled in `retrieval/hits.py`.
HIT_COLUMNS: Final = (
    QUERY, RANK, DICOM_PATH, PATIENT_ID, DIAMETER_MM, SIMILARITY, PROBABILITY, COSINE, RULE, LIKENESS, SCORE, SATISFIES,
    ROW,
)  # fmt: skip

# Of the table of nodules, beside those of the ROI table.
READERS: Final = "readers"
SLICES: Final = "slices"
DIAMETER_SPREAD: Final = "diameter_spread_mm"

# What a row of an index is.
NODULE_UNIT: Final = "nodule"
OUTLINE_UNIT: Final = "outline"
UNITS: Final = (NODULE_UNIT, OUTLINE_UNIT)
AUTO_UNIT: Final = "auto"  # nodules where the table names them

# Of an index of nodules: one value per reader, in the same order in every list.
READER_PREFIX: Final = "reader_"
READER_DIAMETERS: Final = "reader_diameters_mm"

# What the model says of a nodule (`describe`).
ESTIMATED_PREFIX: Final = "estimated_"
ESTIMATED_DIAMETER: Final = "estimated_diameter_mm"
ESTIMATED_LOW: Final = "estimated_diameter_low_mm"
ESTIMATED_HIGH: Final = "estimated_diameter_high_mm"
PROBABILITY_PREFIX: Final = "probability_"
DESCRIPTION: Final = "description"

BOX_COLUMNS: Final = (BBOX_XMIN, BBOX_YMIN, BBOX_XMAX, BBOX_YMAX)
RATING_COLUMNS: Final = (
    SUBTLETY,
    INTERNAL_STRUCTURE,
    CALCIFICATION,
    SPHERICITY,
    MARGIN,
    LOBULATION,
    SPICULATION,
    TEXTURE,
    MALIGNANCY,
)
READER_LISTS: Final = (READER_DIAMETERS, *(READER_PREFIX + name for name in RATING_COLUMNS))
REQUIRED_COLUMNS: Final = (DICOM_PATH, DIAMETER_MM, *BOX_COLUMNS)
TEXT_COLUMNS: Final = (
    DICOM_PATH,
    SERIES_UID,
    SOP_UID,
    PATIENT_ID,
    NODULE_ID,
    READER,
    MANUFACTURER,
    POINTS_JSON,
    DIAMETER_KIND,
)
NUMBER_COLUMNS: Final = (
    FRAME,
    SPACING_ROW,
    SPACING_COL,
    DIAMETER_MM,
    CENTROID_X,
    CENTROID_Y,
    *BOX_COLUMNS,
    Z_MM,
    SLICE_THICKNESS,
    VOLUME_MM3,
    DETECTION_SCORE,
    *RATING_COLUMNS,
)
MOST_TEXT_BYTES: Final = 1 << 16  # of a path, an id or a kept column in one row; outlines may be longer

MOST_READERS: Final = 1 << 10  # of a nodule on one slice

# File names.
BEST_CHECKPOINT: Final = "clip_best.pth"
LAST_CHECKPOINT: Final = "last.pth"
METRICS_LOG: Final = "metrics.jsonl"
RUN_RECORD: Final = "run.json"
RUN_SETTINGS: Final = "arguments"  # key of the run record that --config reads
TRAINING_PAGE: Final = "training.html"
# In the order of removal: --resume must not find a state whose best model is gone.
RUN_FILES: Final = (LAST_CHECKPOINT, BEST_CHECKPOINT, METRICS_LOG, RUN_RECORD, TRAINING_PAGE)
EMBEDDINGS: Final = "img_embeds.npy"
META: Final = "meta.parquet"
OUTLINES: Final = "outlines.parquet"
TEXT_TOWER: Final = "text_tower.onnx"
INDEX_MANIFEST: Final = "index.json"
SHARDS_FOLDER: Final = "shards"
CHUNKS_FOLDER: Final = ".pieces"
SHARD_MANIFEST: Final = "shard.json"
TOP_K_CSV: Final = "topk.csv"
SEARCH_RECORD: Final = "query.json"
ESTIMATES_CSV: Final = "estimates.csv"
EVALUATION_JSON: Final = "evaluation.json"
EVALUATION_PAGE: Final = "evaluation.html"
REJECTS_CSV: Final = "rejects.csv"
CHECK_REPORT: Final = "check.json"
TRAIN_PATIENTS: Final = "train_patients.txt"
VAL_PATIENTS: Final = "val_patients.txt"
TEST_PATIENTS: Final = "test_patients.txt"
SPLIT_FILES: Final = (TRAIN_PATIENTS, VAL_PATIENTS, TEST_PATIENTS)
ROI_CSV: Final = "roi_with_diam.csv"
NODULES_CSV: Final = "nodules.csv"
PREPARE_JSON: Final = "prepare.json"
PREPARE_PAGE: Final = "prepare.html"
SPLITS_FOLDER: Final = "splits"

# What each column means, for the reference pages.
COLUMN_MEANINGS: Final = {
    DICOM_PATH: "DICOM file of the slice, absolute or relative, with / or \\",
    FRAME: "frame of a multi-frame file, from 1 as DICOM counts them; needed for such a file, 1 or empty for any other",
    DIAMETER_MM: "largest diameter of the outline on this slice, or what diameter_kind says, in mm; empty without one",
    DIAMETER_KIND: "what the diameter is, one kind in a table: in-slice, axes-mean, equivalent, 3d, volume or unknown",
    VOLUME_MM3: "volume of the reader's mask in mm3: its voxels times the volume of one; of a nodule the readers' mean",
    DETECTION_SCORE: "score that a detector gave the place",
    BBOX_XMIN: "first column (x) of the outline's box, 0-based",
    BBOX_YMIN: "first row (y) of the box",
    BBOX_XMAX: "last column of the box, inclusive",
    BBOX_YMAX: "last row of the box, inclusive",
    SPACING_ROW: "distance between rows (y) in mm; serves where the header has none, must agree with it to 1 %",
    SPACING_COL: "distance between columns (x) in mm",
    CENTROID_X: "centroid of the outline, column",
    CENTROID_Y: "centroid of the outline, row",
    POINTS_JSON: "the outline as [[x,y],…]; kept apart in the index, for pictures",
    SERIES_UID: "Series Instance UID; --unique series",
    SOP_UID: "SOP Instance UID",
    PATIENT_ID: "patient; else LIDC-IDRI-dddd in the path, else the DICOM PatientID",
    NODULE_ID: "nodule within its patient; rows that share it and the slice are readers of one nodule",
    READER: "who drew the outline",
    X_MM: "place of the centroid in the patient, in mm towards the left (LPS); empty where no slices were read",
    Y_MM: "the same, towards the back",
    Z_MM: "position of the slice in mm; in nodules.csv that of the centroid",
    SLICE_THICKNESS: "slice thickness in mm",
    MANUFACTURER: "maker of the scanner",
    SUBTLETY: "LIDC rating, 1 extremely subtle to 5 obvious",
    INTERNAL_STRUCTURE: "LIDC rating: 1 soft tissue, 2 fluid, 3 fat, 4 air",
    CALCIFICATION: "LIDC rating: 1 popcorn, 2 laminated, 3 solid, 4 non-central, 5 central, 6 absent",
    SPHERICITY: "LIDC rating, 1 linear to 5 round",
    MARGIN: "LIDC rating, 1 poorly defined to 5 sharp",
    LOBULATION: "LIDC rating, 1 none to 5 marked",
    SPICULATION: "LIDC rating, 1 none to 5 marked",
    TEXTURE: "LIDC rating, 1 ground-glass, 3 part-solid, 5 solid",
    MALIGNANCY: "LIDC rating, 1 highly unlikely to 5 highly suspicious",
    READERS: "how many readers outlined the nodule",
    SLICES: "how many slices carry an outline of it",
    READER_DIAMETERS: "list of the diameters of the readers who drew on the row's slice, null where one is missing",
    **{READER_PREFIX + name: f"list of their ratings of {name}, in the same order" for name in RATING_COLUMNS},
    DIAMETER_SPREAD: "largest minus smallest of the readers' diameters on that slice, in mm",
    ESTIMATED_DIAMETER: "diameter that the image shows: the median of a reader's, in mm",
    ESTIMATED_LOW: "10 % of readers are expected to measure less, in mm",
    ESTIMATED_HIGH: "10 % of readers are expected to measure more, in mm",
    **{
        ESTIMATED_PREFIX + name: f"{name} that the image shows: the median of a reader's rating"
        for name in RATING_COLUMNS
        if name != INTERNAL_STRUCTURE
    },
    DESCRIPTION: "what the image shows, in words: the diameter with its interval, and what readers would agree on",
    CSV_ROW: "row of the ROI table, 1 = first below the header",
    CENTER_X: "centre of the crop, column: the middle of the box, or the point that the row is",
    CENTER_Y: "centre of the crop, row",
    QUERY: "what was asked: the sentence, and after --like the nodule, as in `> 6 mm, like row 17`",
    RANK: "1 = best",
    ROW: "row of the index, 0-based: the row of img_embeds.npy",
    SIMILARITY: "cosine of the embeddings of sentence and crop, in [-1, 1], whose spread depends on the model; with "
    "--like alone of the two crops",
    PROBABILITY: "share of readers who are expected to agree that the sentence is true, in [0, 1]: sigmoid(scale * "
    "similarity + bias), with the model's scale and bias; empty with --like alone, and where a sentence asks for "
    "neither a size nor a rating, for which the scale and bias do not hold",
    COSINE: "the probability once more, where a score is mixed of it, and what that formula gives for a sentence that "
    "has none; an older name that scripts may read",
    RULE: "1 inside the interval, falling off outside; empty without diameter or size; fuse only",
    LIKENESS: "cosine of the embeddings of the crop and that of --like, in [-1, 1]; query with --like",
    SCORE: "fuse: alpha * probability + (1 - alpha) * rule, the probability alone where there is no rule; query with "
    "--like and a sentence: (1 - w) * probability + w * (1 + likeness) / 2, w being --like-weight",
    SATISFIES: "whether diameter and ratings are those asked for; empty where that is unknown or nothing is asked for",
    REJECT_CODE: "reason in one word",
    REJECT_REASON: "reason in a sentence",
}

INDEX_SCHEMA_VERSION: Final = 3
OUTLINE_SCHEMA_VERSION: Final = 2  # of indexes of outlines, before there were indexes of nodules
CHECKPOINT_SCHEMA_VERSION: Final = 2
