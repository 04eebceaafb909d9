"""Rows are put into groups by their ids, whatever these hold."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noduleclip import schema
from noduleclip.io.index.open import open_index
from noduleclip.io.index.rows import find_groups
from stores import SMALL_MODEL, write_manifest, write_small_index

IDS = st.sampled_from([None, "", "a", "b", "a\x1f", "\x1fa", "row 0"])


@given(ids=st.lists(st.tuples(IDS, IDS), min_size=1, max_size=12))
def test_rows_of_one_nodule_have_one_number(
    tmp_path_factory: pytest.TempPathFactory, ids: list[tuple[str | None, str | None]]
) -> None:
    folder = tmp_path_factory.mktemp("groups") / "index"
    write_small_index(folder, "model", len(ids))
    meta = pl.read_parquet(folder / schema.META).with_columns(
        pl.Series(schema.PATIENT_ID, [patient for patient, _ in ids], pl.String),
        pl.Series(schema.NODULE_ID, [nodule for _, nodule in ids], pl.String),
    )
    meta.write_parquet(folder / schema.META)
    write_manifest(
        folder, model_id="model", checkpoint_sha256="c", model=SMALL_MODEL, rows=len(ids), scale=1.0, bias=0.0
    )  # fmt: skip
    index = open_index(folder)
    expected = [one if all(one) else row for row, one in enumerate(ids)]
    groups = find_groups(index, "nodule", None)
    assert groups is not None
    same = groups[:, None] == groups[None, :]
    assert same.tolist() == [[one == other for other in expected] for one in expected]
    some = np.arange(0, len(ids), 2)
    chosen = find_groups(index, "nodule", some)
    assert chosen is not None
    assert chosen.tolist() == groups[some].tolist()
