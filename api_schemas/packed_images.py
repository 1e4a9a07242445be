"""Images in a ZIP file without compression: each is sent by its range of bytes."""

from pydantic import Field

from api_schemas.base import ReportModel


class PackedImage(ReportModel):
    """An image, and where it is in the ZIP file."""

    name: str = Field(description="Name in the ZIP file.", examples=["0003-before.webp"])
    offset: int = Field(description="Position of the image's first byte in the ZIP file.")
    size: int = Field(description="Bytes.")
    sha256: str
