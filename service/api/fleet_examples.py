"""One example of each resource of fleets."""

from datetime import timedelta

from api_schemas.fleets import (
    Fleet,
    FleetCounts,
    FleetPlan,
    FleetRequest,
    FleetSelector,
    FleetTarget,
    FleetUrls,
)
from api_schemas.removals import Removal
from service.api.example_values import EDIT_ID, NOW, SHA256, ULID

FLEET_ID = f"fleet_{ULID}"

FLEET_REQUEST = FleetRequest(
    selector=FleetSelector(labels=["production"], family="sdxl"),
    removals=[Removal(concept="fox", replacement="dog face")],
)
FLEET_TARGET = FleetTarget(
    model="sdxl-anime", state="in_force", group=SHA256, application="solved", edit=EDIT_ID, revision=1, verdict="passed"
)
FLEET_COUNTS = FleetCounts(total=200, groups=3, in_force=200)
FLEET_EXAMPLES = (
    FLEET_REQUEST,
    FLEET_TARGET,
    FleetPlan(
        counts=FleetCounts(total=1, groups=1, pending=1), targets=[FleetTarget(model="sdxl-anime", group=SHA256)]
    ),
    Fleet(
        id=FLEET_ID,
        status="in_force",
        request=FLEET_REQUEST,
        request_digest=FLEET_REQUEST.digest(),
        counts=FLEET_COUNTS,
        created_at=NOW,
        finished_at=NOW + timedelta(minutes=9),
        statement=SHA256,
        urls=FleetUrls(
            self=f"/v1/fleets/{FLEET_ID}",
            targets=f"/v1/fleets/{FLEET_ID}/targets",
            statement=f"/v1/fleets/{FLEET_ID}/statement",
        ),
    ),
)
