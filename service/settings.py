"""Settings of the API, in addition to those of the store."""

import re
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import urlsplit

from limits import parse_many
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from api_schemas.access import DEFAULT_TENANT, TENANT_PATTERN, TENANT_SCOPES, Scope
from service.store.setting_types import Form, OptionalFile, parse_json
from service.store.settings import StoreSettings
from service.store.version import VERSION as VERSION

OIDC_CALLBACK_PATH = "/sign-in/oidc/callback"
HOST_AND_PORT = re.compile(r"(?:([A-Za-z0-9._-]+)|\[([0-9A-Fa-f:.]+)\]):([1-9][0-9]{0,4})")


def _validate_rate_limit(text: str) -> str:
    """Validate the rate limit at start-up. Raises `ValueError`."""
    if text:
        (rule,) = parse_many(text)
        if rule.amount < 1:
            raise ValueError("no request would be allowed")
    return text


def _validate_hosts(hosts: Sequence[str]) -> list[str]:
    """Return `host:port` as URLs are compared with it: in lower case, and IPv6 addresses without brackets."""
    matches = [HOST_AND_PORT.fullmatch(host) for host in hosts]
    if not all(match and int(match[3]) < 1 << 16 for match in matches):
        raise ValueError("not host:port")
    return [f"{match[1] or match[2]}:{match[3]}".lower() for match in matches if match]


RateLimit = Annotated[
    str,
    AfterValidator(_validate_rate_limit),
    Form("a number of requests per second, minute, hour or day, or nothing", "6000/minute"),
]
HostList = Annotated[
    list[str],
    BeforeValidator(lambda value: parse_json(value, [])),
    AfterValidator(_validate_hosts),
    Form("a JSON list of host:port", '["127.0.0.1:8000"]'),
]


class OidcGroup(BaseModel):
    """What the members of a group of the identity provider may do."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(default=DEFAULT_TENANT, pattern=TENANT_PATTERN.pattern)
    scopes: list[Scope] = Field(default=list(TENANT_SCOPES), min_length=1)


def _validate_issuer(url: str) -> str:
    """Return the URL if it is https, or on this machine. Raises `ValueError`."""
    parts = urlsplit(url)
    if url and not (parts.hostname and (parts.scheme == "https" or parts.hostname in ("127.0.0.1", "localhost"))):
        raise ValueError("not an https URL")
    return url


def _validate_callback(url: str) -> str:
    """Return the URL if an identity provider can send browsers back to it. Raises `ValueError`."""
    parts = urlsplit(_validate_issuer(url))
    if url and (not parts.path.endswith(OIDC_CALLBACK_PATH) or parts.query or parts.fragment):
        raise ValueError("not the address of the callback")
    return url


def _validate_credential(text: str) -> str:
    """Return the text if it can be a client id, secret or claim: printable ASCII without spaces. Raises `ValueError`."""
    if not all("!" <= character <= "~" for character in text):
        raise ValueError("not printable ASCII")
    return text


IssuerUrl = Annotated[
    str, AfterValidator(_validate_issuer), Form("the https URL of an issuer, or nothing", "https://login.example")
]
CallbackUrl = Annotated[
    str,
    AfterValidator(_validate_callback),
    Form(f"an https URL that ends in {OIDC_CALLBACK_PATH}, or nothing", f"https://expunge.example{OIDC_CALLBACK_PATH}"),
]
ClientId = Annotated[
    str,
    AfterValidator(_validate_credential),
    Form("printable ASCII without spaces, and not empty where an issuer is set", "expunge"),
]
ClientSecret = Annotated[
    str, AfterValidator(_validate_credential), Form("printable ASCII without spaces, or nothing", "3q2-7w")
]
ClaimName = Annotated[
    str,
    Field(min_length=1),
    AfterValidator(_validate_credential),
    Form("the name of a claim, in printable ASCII without spaces", "groups"),
]
GroupMap = Annotated[
    dict[str, OidcGroup],
    BeforeValidator(lambda value: parse_json(value, {})),
    Form(
        "a JSON object of groups, each with tenant and scopes",
        '{"desk": {"tenant": "default", "scopes": ["edits:read"]}}',
    ),
]


class ServiceSettings(StoreSettings):
    """Settings that are read from `EXPUNGE_*` variables."""

    max_body_bytes: int = Field(default=262_144, ge=1024, description="Maximum size of a request body in bytes.")
    max_header_bytes: int = Field(
        default=32_768, ge=1024, description="Maximum size of a request's line and header fields in bytes."
    )
    header_seconds: float = Field(
        default=10.0, gt=0, description="Seconds in which the header of a request must arrive."
    )
    body_seconds: float = Field(
        default=60.0, gt=0, description="Seconds in which the body of a request must arrive after its header."
    )
    stream_poll_seconds: float = Field(default=0.5, gt=0, description="Seconds between two polls of an event stream.")
    stream_limit_seconds: float = Field(
        default=600.0, gt=0, description="Seconds after which an event stream ends and its client reconnects."
    )
    rate_limit: RateLimit = Field(
        default="6000/minute", description="Requests that one API key may send. Empty: no limit."
    )
    require_idempotency_key: bool = Field(
        default=False, description="Reject requests that create a job without an Idempotency-Key."
    )
    max_unfinished_jobs: int = Field(
        default=1000, ge=0, description="Maximum number of unfinished jobs of a tenant. 0: no limit."
    )
    max_dry_runs: int = Field(
        default=20, ge=0, description="Maximum number of unfinished dry runs of all tenants. 0: no limit."
    )
    max_dry_runs_per_tenant: int = Field(
        default=5, ge=0, description="Maximum number of unfinished dry runs of a tenant. 0: no limit."
    )
    max_previews_per_tenant: int = Field(
        default=5, ge=0, description="Maximum number of unfinished previews of a tenant. 0: no limit."
    )
    max_webhook_endpoints: int = Field(
        default=20, ge=0, description="Maximum number of webhook endpoints of a tenant. 0: no limit."
    )
    max_batch_bytes: int = Field(
        default=4_194_304, ge=1024, description="Maximum size of a batch request's body in bytes."
    )
    hash_models: bool = Field(
        default=True,
        description="Queue a job that reads and hashes each base model that was not registered over the API, once and when its "
        "files have changed.",
    )
    plan_seconds: float = Field(
        default=60.0, gt=0, description="Time limit of a dry run in seconds, including the time in the queue."
    )
    session_idle_seconds: float = Field(
        default=3600.0, gt=0, description="Seconds without a request after which a session of the web pages ends."
    )
    session_seconds: float = Field(
        default=43_200.0, gt=0, description="Seconds after sign-in at which a session of the web pages ends."
    )
    case_bases: OptionalFile = Field(
        default=None,
        description="TOML file of the bases of cases, their clocks and reason templates. Empty: examples, which counsel must "
        "sign off.",
    )
    case_undo_seconds: float = Field(
        default=30.0, ge=0, le=3600, description="Seconds in which the decision of a case can be undone."
    )
    case_claim_seconds: float = Field(
        default=900.0,
        gt=0,
        le=86_400,
        description="Seconds in which nobody else can claim a case, from the last activity.",
    )
    oidc_issuer: IssuerUrl = Field(
        default="",
        description="Issuer of the OpenID Connect provider where people sign in to the web pages. Empty: none.",
    )
    oidc_client_id: ClientId = Field(default="", description="Id of this service at the provider.")
    oidc_client_secret: ClientSecret = Field(
        default="", repr=False, description="Secret of this service at the provider."
    )
    oidc_redirect_url: CallbackUrl = Field(
        default="",
        description="Address of /sign-in/oidc/callback, as registered at the provider. Empty: that of the request, which is "
        "right unless a proxy changes host or scheme.",
    )
    oidc_groups_claim: ClaimName = Field(
        default="groups", description="Claim of the ID token that lists a user's groups."
    )
    oidc_groups: GroupMap = Field(
        default={},
        description="JSON object that maps groups of the provider to a tenant and scopes. Others may not sign in.",
    )
    webhook_allowed_hosts: HostList = Field(
        default=[],
        description="JSON list of host:port of webhook receivers that may be private or use plain HTTP.",
    )

    @field_validator("oidc_client_id")
    @classmethod
    def _names_the_client(cls, client_id: str, info: ValidationInfo) -> str:
        """A provider answers no client without an id."""
        if info.data.get("oidc_issuer") and not client_id:
            raise ValueError("missing")
        return client_id
