"""SSRF guard: webhooks never reach internal addresses.

At each attempt the host is resolved once, all of its addresses must be public, and the connection goes to one of exactly
these addresses, so DNS rebinding has no effect.
"""

import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from urllib.parse import SplitResult, urlsplit

import httpx

from service.errors import WebhookRefused

Resolver = Callable[[str, int], Sequence[str]]
"""Maps host and port to IP addresses."""

HTTPS_PORT = 443
INTERNAL_DOMAINS = (".localhost", ".local", ".internal", ".home.arpa")
"""Domains that are never on the public internet: RFC 6761 (6.3), RFC 6762 (3), ICANN's reservation of 2024, and RFC 8375."""


def resolve(host: str, port: int) -> list[str]:
    """Resolve a host with the system's resolver."""
    return [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def validate_url(url: str, allowed: Collection[str] = ()) -> SplitResult:
    """Parse the URL of a webhook and check that it is acceptable.

    Args:
        allowed: `host:port` of receivers that the operator trusts, with any address and over plain HTTP.

    Raises:
        WebhookRefused: not an https URL, or it contains credentials or an address that is not public.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", port_of(parts)
    except ValueError as error:
        raise WebhookRefused("The URL cannot be parsed.", remedy="Send an https URL.") from error
    if parts.username is not None or parts.password is not None or not host or parts.fragment:
        raise WebhookRefused(
            "The URL must have a host and must not contain credentials or a fragment.", remedy=NO_CREDENTIALS_REMEDY
        )
    if is_allowed(parts, allowed):
        return parts
    if parts.scheme != "https":
        raise WebhookRefused("Webhook URLs must use https.", remedy="Send an https URL.")
    name = _ascii_host(parts)
    if not (_HOST_NAME.fullmatch(name) or ":" in name):
        raise WebhookRefused(f"{host} is not a valid host name.", remedy="Check the spelling of the URL.")
    name = name.rstrip(".")
    if f".{name}".endswith(INTERNAL_DOMAINS):
        raise WebhookRefused(f"{host} is not a public host.", remedy=PUBLIC_RECEIVER_REMEDY)
    if (literal := _literal_address(name)) and not is_public(literal):
        raise WebhookRefused(f"{host} is not a public address.", remedy=PUBLIC_RECEIVER_REMEDY)
    if port == 0:
        raise WebhookRefused("Port 0 is not valid.", remedy="Leave the port out.")
    return parts


def resolve_public(parts: SplitResult, resolver: Resolver, allowed: Collection[str] = ()) -> list[str]:
    """Resolve the URL's host.

    Raises:
        WebhookRefused: it does not resolve, or one of its addresses is not public.
    """
    host, port = parts.hostname or "", port_of(parts)
    try:
        addresses = list(resolver(host, port))
    except OSError as error:
        raise WebhookRefused("The host name does not resolve.", remedy="Check the URL.") from error
    if not addresses or not (is_allowed(parts, allowed) or all(is_public(address) for address in addresses)):
        raise WebhookRefused("The host has an address that is not public.", remedy=PUBLIC_RECEIVER_REMEDY)
    return addresses


def is_public(address: str) -> bool:
    """Return whether the address is globally routable unicast; for IPv4 embedded in IPv6, whether the IPv4 address is."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        embedded = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if embedded is not None or ip in _NAT64:
            return embedded is not None and is_public(str(embedded))
    return ip.is_global and not ip.is_multicast


def port_of(parts: SplitResult) -> int:
    """Return the URL's port, or the default of its scheme. Raises `ValueError` if the port is invalid."""
    return parts.port if parts.port is not None else HTTPS_PORT if parts.scheme == "https" else 80


def is_allowed(parts: SplitResult, allowed: Collection[str]) -> bool:
    """Return whether the operator allows this receiver."""
    return parts.scheme in ("http", "https") and f"{parts.hostname}:{port_of(parts)}" in allowed


class PinnedTransport(httpx.BaseTransport):
    """Connects to a validated address, with the URL's host name in the Host header and for TLS."""

    def __init__(
        self,
        allowed: Collection[str] = (),
        resolver: Resolver = resolve,
        inner: httpx.BaseTransport | None = None,
    ) -> None:
        self._allowed = frozenset(allowed)
        self._find = resolver
        # Without keep-alive: a pooled connection belongs to an address, which another host name may share.
        self._inner = inner or httpx.HTTPTransport(trust_env=False, limits=httpx.Limits(max_keepalive_connections=0))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises `WebhookRefused` if its destination is not acceptable."""
        parts = validate_url(str(request.url), self._allowed)
        address = resolve_public(parts, self._find, self._allowed)[0]
        request.extensions = {**request.extensions, "sni_hostname": parts.hostname}
        request.url = request.url.copy_with(
            host=address
        )  # The Host header was set from the host name and is unchanged.
        return self._inner.handle_request(request)

    def close(self) -> None:
        """Close the connections."""
        self._inner.close()


PUBLIC_RECEIVER_REMEDY = (
    "Use a receiver on the public internet, or ask the operator to allow this one (EXPUNGE_WEBHOOK_ALLOWED_HOSTS)."
)
NO_CREDENTIALS_REMEDY = "Messages are signed; leave credentials out of the URL."
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?")
"""A host name in ASCII, in lower case."""


def _ascii_host(parts: SplitResult) -> str:
    """Return the host as it is sent, or an empty string if it cannot be encoded: full-width `localhost` is `localhost`."""
    host = parts.hostname or ""
    try:
        return host if host.isascii() else httpx.URL(scheme="https", host=host).raw_host.decode()
    except httpx.InvalidURL:
        return ""


def _literal_address(host: str) -> str | None:
    """Return the address that the host is, or None if it is a name.

    Resolvers read `127.1`, `0x7f.1` and `2130706433` as IPv4 addresses too.
    """
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host)) if host.isascii() else None
    except OSError:
        return None
