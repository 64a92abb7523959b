"""Medical pictures: DICOM, NIfTI, NRRD, TIFF stacks, videos, read by frames, and masks written back."""

from monai_sam2unet.io.dicom import DicomPlace, DicomSource
from monai_sam2unet.io.geometry import Grid, grid_of
from monai_sam2unet.io.kinds import DICOM_SUFFIXES, VIDEO_SUFFIXES, Kind, is_dicom, kind_of
from monai_sam2unet.io.label_maps import write_label_map
from monai_sam2unet.io.reading import open_image, read
from monai_sam2unet.io.series import DicomSeries, find_series
from monai_sam2unet.io.source import Frame, Source
from monai_sam2unet.io.stacks import PagePlace, PictureSource, StackSource
from monai_sam2unet.io.values import Volume, read_values, spacing_of, volume_of
from monai_sam2unet.io.video import VideoPlace, VideoSource
from monai_sam2unet.io.volumes import Plane, VolumePlace, VolumeSource
from monai_sam2unet.io.windows import WINDOWS, GivenWindow, Window, find_window, grey_levels
from monai_sam2unet.io.writing import write_nifti, write_nrrd, write_pngs

__all__ = [
    "DICOM_SUFFIXES",
    "VIDEO_SUFFIXES",
    "WINDOWS",
    "DicomPlace",
    "DicomSeries",
    "DicomSource",
    "Frame",
    "GivenWindow",
    "Grid",
    "Kind",
    "PagePlace",
    "PictureSource",
    "Plane",
    "Source",
    "StackSource",
    "VideoPlace",
    "VideoSource",
    "Volume",
    "VolumePlace",
    "VolumeSource",
    "Window",
    "find_series",
    "find_window",
    "grey_levels",
    "grid_of",
    "is_dicom",
    "kind_of",
    "open_image",
    "read",
    "read_values",
    "spacing_of",
    "volume_of",
    "write_label_map",
    "write_nifti",
    "write_nrrd",
    "write_pngs",
]
