"""The names of the report's charts, by which its sections refer to them."""

from api_schemas.report import TraceRecord


def trace_figure_name(trace: TraceRecord) -> str:
    """Return the name of a trace's figure: ``trace-N``, with the component for a text encoder other than the first."""
    suffix = "" if trace.component == "text_encoder" else f"-{trace.component}"
    return f"trace-{trace.removal}{suffix}"


def trade_off_figure_name(index: int) -> str:
    """Return the name of the trade-off curve of the report's ``index``-th solve."""
    return f"trade-off-{index}"
