"""Administration of base models, with their calibrations."""

from uuid import uuid4

from fastapi import APIRouter, Request, Response
from starlette.responses import RedirectResponse

from api_schemas.calibrations import CalibrationRequest
from service.api.auth import ReadsModels, WritesModels
from service.api.dependencies import AppStateDep
from service.api.routes import calibrations, models
from service.api.routes.models import ModelId
from service.web.admin_sections import render_section

router = APIRouter(prefix="/admin")


@router.get("/models")
def list_models(request: Request, app_state: AppStateDep, caller: ReadsModels) -> Response:
    """Show the base models and the calibrations of the tenant."""
    return render_section(
        request,
        "admin_models.html",
        models=models.list_models(app_state, caller).data,
        calibrations=calibrations.list_calibrations(app_state, caller, limit=10).data,
        can_write="models:write" in caller.scopes,
    )


@router.post("/models/{model_id}/calibrate")
def calibrate(model_id: ModelId, app_state: AppStateDep, caller: WritesModels) -> Response:
    """Queue a calibration."""
    calibrations.create(model_id, CalibrationRequest(), app_state, caller, uuid4().hex)
    return RedirectResponse("/admin/models", 303)


@router.post("/calibrations/{calibration_id}/cancel")
def cancel_calibration(calibration_id: str, app_state: AppStateDep, caller: WritesModels) -> Response:
    """Cancel a calibration."""
    calibrations.cancel(calibration_id, app_state, caller)
    return RedirectResponse("/admin/models", 303)
