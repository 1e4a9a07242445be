"""Sign-in at an OpenID Connect provider: authorization code flow with PKCE, state and nonce.

The handshake lies in a cookie of its own, which is `SameSite=Lax` because the browser comes back from another site. Other sites
cannot set a `__Host-` cookie, so it needs no signature.
"""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
from authlib.integrations.httpx_client import OAuth2Client
from joserfc import jwt
from joserfc.jwk import KeySet

from service.settings import OidcGroup, ServiceSettings
from service.store.sessions import SessionUser
from service.web.errors import SignInFailed

DISCOVERY_PATH = "/.well-known/openid-configuration"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures of ID tokens that are accepted; never `none` or one with a shared secret."""
TIMEOUT_SECONDS = 10.0
LEEWAY_SECONDS = 60
"""Tolerated difference between the clocks of the provider and of this machine."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handshake:
    """What ties the provider's answer to the browser that began."""

    state: str
    nonce: str
    verifier: str
    target: str
    """The path to continue at."""

    @classmethod
    def new(cls, target: str) -> "Handshake":
        """Return a handshake with random values."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), target)


class IdentityProvider:
    """The provider that the settings name."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._issuer = settings.oidc_issuer.rstrip("/")
        self._settings = settings

    def authorization_url(self, handshake: Handshake, redirect_url: str) -> str:
        """Return the address at the provider where people sign in. Raises `SignInFailed`."""
        with _translated():
            client = self._client(redirect_url)
            url, _ = client.create_authorization_url(
                self._metadata()["authorization_endpoint"],
                state=handshake.state,
                code_verifier=handshake.verifier,
                nonce=handshake.nonce,
            )
            return str(url)

    def user(self, handshake: Handshake, query: Mapping[str, str], redirect_url: str) -> SessionUser:
        """Exchange the code for an ID token and return its user. Raises `SignInFailed`."""
        if not hmac.compare_digest(handshake.state.encode(), query.get("state", "").encode()):
            raise SignInFailed("The answer does not belong to a sign-in of this browser.", remedy="Sign in again.")
        if "code" not in query:
            raise SignInFailed("The identity provider refused the sign-in.", remedy="Ask its administrator.")
        with _translated():
            metadata = self._metadata()
            token = self._client(redirect_url).fetch_token(
                metadata["token_endpoint"], code=query["code"], code_verifier=handshake.verifier
            )
            claims = self._claims(str(token["id_token"]), metadata["jwks_uri"], handshake.nonce)
        return session_user(self._issuer, claims, self._settings)

    def _client(self, redirect_url: str) -> OAuth2Client:
        return OAuth2Client(
            self._settings.oidc_client_id,
            self._settings.oidc_client_secret,
            scope="openid profile email",
            redirect_uri=redirect_url,
            code_challenge_method="S256",
            timeout=TIMEOUT_SECONDS,
        )

    def _metadata(self) -> dict[str, Any]:
        found = httpx.get(self._issuer + DISCOVERY_PATH, timeout=TIMEOUT_SECONDS).raise_for_status().json()
        if str(found["issuer"]).rstrip("/") != self._issuer:
            raise ValueError("the metadata names another issuer")
        return dict(found)

    def _claims(self, id_token: str, keys_url: str, nonce: str) -> dict[str, Any]:
        """Return the claims of an ID token whose signature, issuer, audience, expiry and nonce are right."""
        keys = KeySet.import_key_set(httpx.get(keys_url, timeout=TIMEOUT_SECONDS).raise_for_status().json())
        token = jwt.decode(id_token, keys, algorithms=ALGORITHMS)
        registry = jwt.JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "values": [self._issuer, f"{self._issuer}/"]},
            aud={"essential": True, "value": self._settings.oidc_client_id},
            exp={"essential": True},
            sub={"essential": True},
            nonce={"essential": True, "value": nonce},
        )
        registry.validate(token.claims)
        return dict(token.claims)


@contextmanager
def _translated() -> Iterator[None]:
    """Context manager: whatever goes wrong with the provider is one error for the page; the log has its type."""
    try:
        yield
    except Exception as error:  # Authlib sends with httpx2 where that is installed, whose errors are not those of httpx
        log.warning("sign-in at the identity provider failed: %s", type(error).__name__)
        raise SignInFailed(
            "The identity provider did not confirm who you are.", remedy="Try again, or ask the operator."
        ) from error


def session_user(issuer: str, claims: Mapping[str, Any], settings: ServiceSettings) -> SessionUser:
    """Return the user of an ID token. The groups of the user decide tenant and scopes. Raises `SignInFailed`."""
    named = claims.get(settings.oidc_groups_claim)
    names = {named} if isinstance(named, str) else {str(name) for name in named} if isinstance(named, list) else set()
    groups = [group for name, group in settings.oidc_groups.items() if name in names]
    if not groups:
        raise SignInFailed("You are in no group that may use this service.", remedy="Ask the operator for access.")
    digest = hashlib.sha256(f"{issuer}\0{claims['sub']}".encode()).hexdigest()
    name = next((str(claims[key]) for key in ("name", "preferred_username", "email") if claims.get(key)), "")
    return SessionUser(f"oidc_{digest[:12]}", groups[0].tenant, name[:100], _scopes(groups), is_api_key=False)


def _scopes(groups: Sequence[OidcGroup]) -> list[str]:
    """Return the scopes of the groups that have the tenant of the first one."""
    return sorted({scope for group in groups if group.tenant == groups[0].tenant for scope in group.scopes})
