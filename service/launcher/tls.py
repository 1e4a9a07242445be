"""Policy for the listen address: API keys must not be sent over a network unencrypted."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from service.launcher.errors import LaunchError


@dataclass(frozen=True)
class ListenPolicy:
    """How the listen address is protected."""

    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    """The operator asserts that a proxy encrypts the connections or that the network is private."""

    @property
    def tls(self) -> bool:
        """Whether the server itself uses TLS."""
        return self.certificate is not None and self.key is not None

    def check(self, host: str) -> None:
        """Raise `LaunchError` if API keys would be sent over a network unencrypted."""
        if (self.certificate is None) != (self.key is None):
            raise LaunchError(
                "A TLS certificate and its key must be given together.",
                remedy="Pass both --tls-certificate and --tls-key.",
            )
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise LaunchError(f"The file {path} does not exist.", remedy="Correct the path.")
        if not (self.tls or self.behind_proxy or is_loopback(host)):
            raise LaunchError(
                f"{host} is reachable from other machines, so API keys would be sent unencrypted.",
                remedy="Pass --tls-certificate and --tls-key, or --behind-proxy if a proxy or a private network protects the "
                "connections, or listen on 127.0.0.1.",
            )

    def arguments(self) -> list[str]:
        """Return the arguments for `python -m service.server`."""
        paths = {"--tls-certificate": self.certificate, "--tls-key": self.key}
        arguments = [part for name, path in paths.items() if path for part in (name, str(path))]
        return [*arguments, *(["--behind-proxy"] if self.behind_proxy else [])]


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's loopback address. Names other than `localhost` count as external."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
