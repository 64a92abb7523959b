"""In the place of pydicom-seg, which asks for versions of NumPy and pydicom long past.

MONAI Label imports it at its start and uses it for DICOM-SEG results of a DICOMweb server alone.
"""
