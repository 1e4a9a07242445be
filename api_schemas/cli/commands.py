"""The sub-commands of `expunge` by panel, so that `expunge --help` lists them without importing any.

The first line of each command's own help is the same; a test compares them.
"""

from typing import NamedTuple


class Summary(NamedTuple):
    """Where a command is listed, and what it does."""

    panel: str
    help: str


REMOVE, LOOK, CHECK, SERVE, OPERATE = (
    "Remove concepts",
    "Look before you remove",
    "Check the result",
    "Serve",
    "Operate a service",
)
PLUGINS = "Plug-ins"
SUMMARIES = {
    "erase": Summary(
        REMOVE, "Remove concepts on this machine, and write the edited weights and the report to a folder."
    ),
    "edit": Summary(REMOVE, "Remove concepts through the service, and download the edited weights and the report."),
    "fleet": Summary(REMOVE, "Remove concepts from many registered models."),
    "ledger": Summary(REMOVE, "List the active and revoked removals of a ledger, and the conflicts between them."),
    "revoke": Summary(
        REMOVE, "Undo removals: write weights solved without them, byte for byte, and update the ledger."
    ),
    "rebase": Summary(REMOVE, "Carry a ledger over to another checkpoint."),
    "inspect": Summary(
        LOOK, "Describe a model's files and what an edit would read and change, from their headers alone."
    ),
    "prompts": Summary(LOOK, "List every name and every prompt that a removal would cover, with tokens."),
    "profiles": Summary(LOOK, "List, show and check profiles: what a model can generate, and in which words."),
    "foresee": Summary(LOOK, "Forecast how completely concepts will be erased and which prompts will degrade most."),
    "trace": Summary(
        LOOK, "Trace where a model keeps a concept: causal mediation analysis of its text encoders or its UNet."
    ),
    "features": Summary(LOOK, "Train, inspect, exchange and use sparse autoencoders."),
    "verify": Summary(
        CHECK, "Verify published files offline: signatures, every byte, the gates, and the delta against its base."
    ),
    "check-deployment": Summary(CHECK, "Check whether a pipeline carries a published removal."),
    "diff": Summary(CHECK, "Compare two models tensor by tensor."),
    "apply": Summary(CHECK, "Write the edited files from a base model and a delta."),
    "up": Summary(SERVE, "Run the whole service on one data folder: broker, workers, dispatcher and API."),
    "cases": Summary(SERVE, "List, show, open and decide takedown cases through the service."),
    "api-keys": Summary(SERVE, "Create, list and revoke API keys."),
    "models": Summary(SERVE, "Register, list, calibrate and delete base models."),
    "keys": Summary(SERVE, "Create, list and export the keys that sign published files."),
    "audit": Summary(OPERATE, "List and verify the audit log."),
    "db": Summary(OPERATE, "Upgrade, inspect and back up the database."),
    "secrets": Summary(OPERATE, "Manage the keys that encrypt secrets in the database."),
    "fsck": Summary(OPERATE, "Check the store: hash every blob and check all references and event sequences."),
    "gc": Summary(
        OPERATE,
        "Delete expired jobs and files that are no longer referenced.",
    ),
    "bench": Summary(OPERATE, "Run a benchmark against what a user would pick instead."),
}
"""In the order of `expunge --help`."""
