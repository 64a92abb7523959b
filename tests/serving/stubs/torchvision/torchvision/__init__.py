"""In the place of torchvision, of which there is no build for every machine that the tests run on.

MONAI Label imports it at its start, for grids of pictures that a bundle's server does not draw.
"""
