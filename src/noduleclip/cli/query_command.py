"""`noduleclip query`."""

from noduleclip.cli import options


def query(
    emb_dir: options.EmbDir,
    query: options.Query = None,
    queries_file: options.QueriesFile = None,
    model: options.IndexModel = None,
    topk: options.TopK = 10,
    where: options.Where = None,
    unique: options.Unique = None,
    patients_file: options.PatientsFilter = None,
    dicom_root: options.PictureRoot = None,
    html: options.Html = None,
    contact_sheet: options.ContactSheet = None,
    viewer_url: options.ViewerUrl = None,
    out: options.QueryOut = None,
    output_format: options.OutputFormat = "auto",
    paths_only: options.PathsOnly = False,
    preview: options.Preview = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Rank the nodules of an index for a sentence, by what their images show.

    Example: noduleclip query --emb-dir runs/first/test --query "a lung nodule with diameter > 6 mm" --topk 20
    """
    from noduleclip.cli.pictures import PictureOptions
    from noduleclip.cli.search import SearchOptions, run_search

    run_search(
        SearchOptions(
            emb_dir, model, query, queries_file, topk, where, unique, patients_file,
            out, output_format, paths_only, overwrite,
            PictureOptions(dicom_root, preview, html=html, contact_sheet=contact_sheet, viewer_url=viewer_url),
        )
    )  # fmt: skip
