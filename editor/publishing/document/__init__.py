"""The report as a document of plain blocks, rendered as HTML and as PDF."""
