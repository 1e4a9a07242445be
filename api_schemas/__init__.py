"""What crosses the wire: requests, resources, events, problems; and the typed client that speaks them.

Needs pydantic only (the client: httpx too; the command line: typer and rich). Imports nothing else of
Expunge, so that everything else may import it: a takedown desk's script, the API image and the GPU worker
share these definitions and nothing more.
"""
