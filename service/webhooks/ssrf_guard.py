"""Where a webhook may go: never to a machine of ours.

A name is resolved once for each attempt, every address that it has must be public, and the connection goes to one of those
very addresses: a name that resolves to something else a moment later (DNS rebinding) changes nothing.
"""

import ipaddress
import socket
from collections.abc import Callable, Collection, Sequence
from urllib.parse import SplitResult, urlsplit

import httpx

from service.errors import WebhookRefused

Resolver = Callable[[str, int], Sequence[str]]
"""Host and port -> its addresses."""

HTTPS_PORT = 443


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system's resolver knows them."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def validate_url(url: str, allowed: Collection[str] = ()) -> SplitResult:
    """The parts of a URL that a webhook may have.

    Args:
        allowed: `host:port` of receivers that the operator trusts, however they are reached.

    Raises:
        WebhookRefused: it is no https URL, or holds credentials, or names an address that is not public.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", port_of(parts)
    except ValueError as error:
        raise WebhookRefused("the URL cannot be read.", remedy="Send an https URL.") from error
    if parts.username is not None or parts.password is not None or not host or parts.fragment:
        raise WebhookRefused(
            "the URL needs a host, and may hold neither credentials nor a fragment.", remedy=NO_CREDENTIALS_REMEDY
        )
    if is_allowed(parts, allowed):
        return parts
    if parts.scheme != "https":
        raise WebhookRefused("only https receivers are called.", remedy="Send an https URL.")
    if (literal := _literal_address(host)) and not is_public(literal):
        raise WebhookRefused(f"{host} is not a public address.", remedy=PUBLIC_RECEIVER_REMEDY)
    if port == 0:
        raise WebhookRefused("there is no port 0.", remedy="Leave the port out.")
    return parts


def resolve_public(parts: SplitResult, resolver: Resolver, allowed: Collection[str] = ()) -> list[str]:
    """Where the URL's host is, now.

    Raises:
        WebhookRefused: it is nowhere, or one of its addresses is not public.
    """
    host, port = parts.hostname or "", port_of(parts)
    try:
        found = list(resolver(host, port))
    except OSError as error:
        raise WebhookRefused("the host's name does not resolve.", remedy="Check the URL.") from error
    if not found or not (is_allowed(parts, allowed) or all(is_public(address) for address in found)):
        raise WebhookRefused("the host has an address that is not public.", remedy=PUBLIC_RECEIVER_REMEDY)
    return found


def is_public(address: str) -> bool:
    """Whether an address is reachable from anywhere, and stands for one machine; also of IPv4 that travels in IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None or found in _NAT64:
            return inner is not None and is_public(str(inner))
    return found.is_global and not found.is_multicast


def port_of(parts: SplitResult) -> int:
    """The URL's port, or its scheme's. Raises `ValueError` on one that is none."""
    return parts.port if parts.port is not None else HTTPS_PORT if parts.scheme == "https" else 80


def is_allowed(parts: SplitResult, allowed: Collection[str]) -> bool:
    """Whether the operator allows this receiver, wherever it is."""
    return parts.scheme in ("http", "https") and f"{parts.hostname}:{port_of(parts)}" in allowed


class PinnedTransport(httpx.BaseTransport):
    """Connects to an address that was checked, as the name in the URL: Host and certificate are the name's."""

    def __init__(
        self,
        allowed: Collection[str] = (),
        resolver: Resolver = resolve,
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(allowed)
        self._find = resolver
        # Kept connections belong to an address; the next name there is somebody else.
        self._inner = inner or httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Raises `WebhookRefused` where the request must not go."""
        parts = validate_url(str(request.url), self._allowed)
        address = resolve_public(parts, self._find, self._allowed)[0]
        request.extensions = {**request.extensions, "sni_hostname": parts.hostname}
        request.url = request.url.copy_with(host=address)  # the Host header was made of the name, and stays
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


PUBLIC_RECEIVER_REMEDY = (
    "Use a receiver on the public internet, or have the operator allow this one (EXPUNGE_WEBHOOK_ALLOWED_HOSTS)."
)
NO_CREDENTIALS_REMEDY = "Messages are signed; leave credentials out of the URL."
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _literal_address(host: str) -> str | None:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return None
