"""What the report says to people, as a document of plain blocks: written once, shown as a page and in print."""
