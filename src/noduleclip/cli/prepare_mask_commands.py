"""`noduleclip prepare masks` and `rtstruct`: masks and contours of nodules beside their images."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from noduleclip.cli import options
from noduleclip.cli.option_groups import with_option_groups
from noduleclip.cli.positions import Position
from noduleclip.cli.prepare_options import DataRoot, Diameter, PatientPattern, PatientsCsv, RescaleValues, SharedOptions
from noduleclip.cli.prepare_run import run_prepare


@with_option_groups
def prepare_masks(
    *,
    images: Annotated[
        Path,
        typer.Option(
            "--images",
            help="Folder of the images at any depth: NIfTI, NRRD, MetaImage or DICOM; or one volume.",
            rich_help_panel=options.INPUTS,
        ),
        Position("IMAGES"),
    ],
    masks: Annotated[
        Path,
        typer.Option(
            "--masks",
            help="Folder of the masks at any depth: NIfTI, NRRD, MetaImage or DICOM SEG; may be that of the images.",
            rich_help_panel=options.INPUTS,
        ),
        Position("MASKS"),
    ],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            help="CSV of image and mask, and of reader, patient_id and nodule_id where known. (default: by name)",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            metavar="N,N",
            help="Values of a mask that are nodules. (default: all but 0)",
            rich_help_panel=options.INPUTS,
            show_default=False,
        ),
    ] = "",
    instances: Annotated[
        Literal["auto", "components", "labels"],
        typer.Option(
            "--instances",
            help="What a nodule is: a part whose voxels touch, or all voxels of a value; auto: parts if there is one "
            "value, else values.",
            rich_help_panel=options.INPUTS,
        ),
    ] = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Take voxels from this value, as of probabilities.",
            rich_help_panel=options.INPUTS,
        ),
    ] = None,
    min_voxels: Annotated[
        int,
        typer.Option("--min-voxels", min=1, help="Leave smaller nodules out.", rich_help_panel=options.INPUTS),
    ] = 1,
    diameter: Diameter = "in-slice",
    patients: PatientsCsv = None,
    patient_pattern: PatientPattern = "",
    rescale: RescaleValues = "",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of masks of nodules: outlines on each slice, diameters measured, volumes in mm3.

    One reader a mask file; several files of one image are readers. Of volumes only slices with outlines are kept.

    Example: noduleclip prepare masks --images imagesTr --masks labelsTr --out prepared
    """
    from noduleclip.importers.mask_voxels import Instances, MaskRules, parse_labels
    from noduleclip.io.volumes.hu_slices import parse_rescale
    from noduleclip.workflows.prepare_masks import MaskRequest

    rules = MaskRules(parse_labels(labels), Instances(instances), threshold, min_voxels)
    run_prepare(
        MaskRequest(
            data_root=images, masks=masks, pairs=pairs, rules=rules, patients=patients,
            patient_pattern=patient_pattern, rescale=parse_rescale(rescale), diameter_kind=diameter, **shared.settings,
        ),
        shared,
    )  # fmt: skip


@with_option_groups
def prepare_rtstruct(
    *,
    data_root: DataRoot,
    roi: Annotated[
        str,
        typer.Option(
            "--roi",
            metavar="REGEX",
            help="Regular expression of the names of ROIs that are nodules, in any case. (default: names with GTV, "
            "nodule, tumour or lesion)",
            rich_help_panel=options.INPUTS,
            show_default=False,
        ),
    ] = "",
    diameter: Diameter = "in-slice",
    shared: SharedOptions,
) -> None:
    """Make the ROI table of RT Structure Sets beside their CT: a nodule for each ROI chosen, as of NSCLC-Radiomics.

    Inner contours are holes. ROIs that overlap are readers of one nodule. What is not chosen is listed by name.

    Example: noduleclip prepare rtstruct --data-root NSCLC-Radiomics --roi "gtv-1" --out prepared
    """
    from noduleclip.importers.rtstruct_collection import NODULE_ROIS
    from noduleclip.workflows.prepare_masks import StructureSetRequest

    run_prepare(
        StructureSetRequest(data_root=data_root, roi=roi or NODULE_ROIS, diameter_kind=diameter, **shared.settings),
        shared,
    )
