"""The parameters of routes that return a page of a list."""

from typing import Annotated

from fastapi import Query

PageLimit = Annotated[int, Query(ge=1, le=100, description="Items per page.")]
LongPageLimit = Annotated[int, Query(ge=1, le=1000, description="Items per page.")]
"""For items that are small."""
