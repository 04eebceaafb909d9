"""What the inputs of each reader are made of, for the mutator to put where it does not belong."""

from noduleclip import schema


def _words(text: str) -> tuple[bytes, ...]:
    return tuple(word.encode() for word in text.split())


def _from_hex(text: str) -> tuple[bytes, ...]:
    return tuple(map(bytes.fromhex, text.split()))


TABLE = (
    *(name.encode() for name in (*schema.REQUIRED_COLUMNS, *schema.TEXT_COLUMNS, *schema.NUMBER_COLUMNS)),
    *(b",", b"\n", b"\r\n", b'"', b'""', b";", b"\t", b"\xef\xbb\xbf", b"\xff\xfe", b"\0", b"\x1b[2J", b"6 mm"),
    *_words("NaN inf -1 1e400 6,5 ../../x C:\\a\\b.dcm /dev/zero LIDC-IDRI-0001 =1+1 # İß\u202e"),
    *_words('"[[1,2],[3,4],[5,6]]" [[1e99,0],[0,0],[1,1]] [NaN] [[ null [[[]]]'),
)
PLACES = (
    *(TABLE[-24:]),
    *_words('coordX coordY coordZ x y z seriesuid diameter_mm "image" "box" "training" "validation" [[1,2,3,4,5,6]]'),
    *_words("1e308 -0 1e-320 true null {} [] 1.2.3.4.5.6.7 .nii.gz"),
    *_words('"label" "score" "label_scores" [0.5] NaN'),
)
META = (
    *_words("NDims DimSize ElementSpacing Offset Origin TransformMatrix ElementType MET_SHORT MET_DOUBLE MET_UCHAR"),
    *_words("ElementDataFile LOCAL HeaderSize CompressedData BinaryDataByteOrderMSB = True False -1 nan 1e400 65535"),
    *_words("LIST ../x"),
    *(b"\n", b"\x78\x9c", b"\0"),
)
NIFTI = (
    *(b"n+1\0", b"ni1\0", b"n+2\0\r\n\x1a\n", b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0"),
    *(b"\xff\x7f", b"\0\x80", b"\0\0\xb0\x43", b"\0\0\x80\x3f", b"\0\0\x80\xbf", b"\0\0\xc0\x7f", b"\0\0\x80\x7f"),
    *(b"\xff\xff\x7f\x7f", b"\x03\0", b"\x04\0", b"\x80\0", b"\x10\0", b"\x1f\x8b", b"\0" * 16),
)
NRRD = (
    *_words("NRRD0004 NRRD0005 type: short float ushort uchar block dimension: sizes: spacings: space: encoding: raw"),
    *_words("gzip bzip2 ascii endian: little big left-posterior-superior RAS LAS 3 4 -1 nan none (1,0,0) (0,0,1e999)"),
    *(b"space directions: ", b"space origin: ", b"space units: ", b"data file: ", b"byte skip: ", b"line skip: "),
    *(b"kinds: ", b"LIST", b"../x", b"%03d 1 9 1", b"Segment0_LabelValue:=1", b"\n", b"\n\n", b"\r\n", b"# "),
    *(b'"mm" "cm"', b"\x1f\x8b", b"BZh9"),
)
LIDC_XML = (
    *_words("<LidcReadMessage> <IdriReadMessage> <readingSession> </readingSession> <unblindedReadNodule> <nonNodule>"),
    *_words("<roi> </roi> <edgeMap> </edgeMap> <xCoord> <yCoord> <inclusion>FALSE</inclusion> <characteristics>"),
    *_words('<!DOCTYPE <!ENTITY &a; &#0; &#x10ffff; <![CDATA[ ]]> <?xml xmlns="" 1e5 -99999 1e400 nan ０ 1_0 0x1'),
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1b[2J", b"<a>" * 999),
)
SCORES = (*TABLE, schema.ROW.encode(), b"small", b"> 6 mm")
SENTENCE = (
    *_words("small large > < >= <= = ± mm cm mm3 to or and not between - at least less than read as: diameter in"),
    *_words("× ≥ – − ５ ㎜ ½ ² ٣ İ \u200b \u202e 1/2 6-10 (6,10] [6, inf) 1e9 texture 5 malignancy spiculated"),
    *(b"\x1b[2J", b"\0", b"part-solid"),
)
CONDITION = (
    *_words(
        "diameter_mm patient_id row AND or NOT in IN ( ) BETWEEN LIKE ilike IS NULL = == != <> < <= > >= , ' '' ` %"
    ),
    *_words("SELECT FROM read_csv /**/ -- ; * :: || 'a' 3 4.5 -1 1e400 9223372036854775808 '/etc/hostname' \" \\ $1 ?"),
    *(b"\0", b"\x1b", b"(" * 99, b"not " * 99, b" ", b"\n", "İ".encode(), "٣".encode()),
)
JSON = _words(
    '"rows" "emb" "files" "bytes" "sha256" "model" "scale" "vocabulary" "words" "grid_mm" "attributes" "texture" null '
    'true [] {} NaN Infinity -1 1e999 999999999999999999999999999999 "\\u001b[2J" \\ud800 ""'
)
CONFIG = (
    *_words("epochs bs lr seed device emb-dir query top-k workers arguments [[ ]] { } \" ' = inf nan 1979-05-27 [a.b]"),
    *_words('\\u001b \\u007f \\ud800 """ [1,2] \ufeff'),
    *(*JSON, b"\n", b"\x1b", b"\x7f"),
)
DICOM = (
    *_from_hex("e07f1000 28000200 28001000 28001100 28000001 28000101 28000301 28000800 28005310 28005210 28000030"),
    *_from_hex("feff00e0 feffdde0 feff0de0 ffffffff ffd8 ffd9 ffc0 ffc3 ffc4 ffda fff7 ff4fff51 ff52 ff90 ff93"),
    *(b"OB\0\0", b"OW\0\0", b"SQ\0\0", b"UN\0\0", b"US\2\0", b"DS", b"CS", b"IS", b"DICM", b"1E400 ", b"\\"),
    *_words("1.2.840.10008.1.2.1.99 1.2.840.10008.1.2.4.50 1.2.840.10008.1.2.4.51 1.2.840.10008.1.2.4.70"),
    *_words("1.2.840.10008.1.2.4.80 1.2.840.10008.1.2.4.90 1.2.840.10008.1.2.5 1.2.840.10008.1.2.2"),
)
NPY = (
    b"\x93NUMPY",
    b"(7, 8)",
    *_words("'descr' 'fortran_order' 'shape' '<f4' '|O' '<i2' '<f8' True [( 999999999999"),
)
PARQUET = (b"PAR1", *TABLE)
ONNX = (*_words("left share Gather Loop If ConstantOfShape Expand external_data location ../../x"), b"\x08\x01")
TOLD = (*JSON, b"\n", b"nan", b"1e999", *(name.encode() for name in schema.RATING_COLUMNS))
PICKLE = (
    *(b"cposix\nsystem\n", b"c__builtin__\neval\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n"),
    *_words("R ( t Q . N schema_version config vocabulary text_encoder backbone test_resnet hf-hub:a/b"),
    *(b"K\xff", b"\x88", b"G\x7f\xf8\0\0\0\0\0\0"),
)
