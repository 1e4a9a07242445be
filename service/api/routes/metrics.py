"""Prometheus metrics."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.auth import ReadsMetrics
from service.api.metrics import Metrics

router = APIRouter(tags=["health"])


@router.get("/metrics", include_in_schema=False, response_class=Response)
def read_metrics(request: Request, caller: ReadsMetrics) -> Response:
    """Return the metrics in the Prometheus text format."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)
