"""In the place of girder-client, which MONAI Label imports at its start for studies on a Girder server."""


class HttpError(Exception):
    """What MONAI Label catches."""
