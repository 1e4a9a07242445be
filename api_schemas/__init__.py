"""The wire format: requests, resources, events and problems, and the typed client.

Depends on pydantic only (the client also on httpx, the command line on typer and rich) and on nothing else of Expunge, so
that a client script, the API image and the GPU worker can share these definitions without further dependencies.
"""
