"""Policy for the listen address: API keys must not be sent over a network unencrypted."""

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from api_schemas.errors import UsageError


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
        """Raise `UsageError` if the certificate is unusable, or if API keys would be sent over a network unencrypted."""
        if (self.certificate is None) != (self.key is None):
            raise UsageError(
                "A TLS certificate and its key must be given together.",
                remedy="Pass both --tls-certificate and --tls-key.",
            )
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise UsageError(f"The file {path} does not exist.", remedy="Correct the path.")
        if self.certificate and self.key:
            _check_certificate(self.certificate, self.key)
        if not (self.tls or self.behind_proxy or is_loopback(host)):
            raise UsageError(
                f"{host} is reachable from other machines, so API keys would be sent unencrypted.",
                remedy="Pass --tls-certificate and --tls-key, or --behind-proxy if a proxy or a private network protects the "
                "connections, or listen on 127.0.0.1.",
            )

    def arguments(self) -> list[str]:
        """Return the arguments for `python -m service.server`."""
        paths = {"--tls-certificate": self.certificate, "--tls-key": self.key}
        arguments = [part for name, path in paths.items() if path for part in (name, str(path))]
        return [*arguments, *(["--behind-proxy"] if self.behind_proxy else [])]


def _check_certificate(certificate: Path, key: Path) -> None:
    """Raise `UsageError` unless the files are a certificate and its key. An encrypted key would need a password."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=b"")
    except (OSError, ValueError) as error:  # SSLError is an OSError
        raise UsageError(
            f"{certificate} and {key} are not a TLS certificate and its unencrypted private key in PEM.",
            remedy="Pass the certificate with --tls-certificate and the key that belongs to it with --tls-key.",
        ) from error


def is_loopback(host: str) -> bool:
    """Return whether an address is this machine's loopback address. Names other than `localhost` count as external."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
