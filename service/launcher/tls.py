"""Who can reach us, and whether what they send can be read on its way: API keys travel with every request."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from service.launcher.errors import LaunchError


@dataclass(frozen=True)
class Exposure:
    """What protects the address that we listen on."""

    certificate: Path | None = None
    key: Path | None = None
    behind_proxy: bool = False
    """The operator says that somebody else encrypts what comes here, or that the network is a private one."""

    @property
    def tls(self) -> bool:
        """Whether we encrypt it ourselves."""
        return self.certificate is not None and self.key is not None

    def check(self, host: str) -> None:
        """Raise `LaunchError` rather than listen where others can read along."""
        if (self.certificate is None) != (self.key is None):
            raise LaunchError("a certificate needs its key.", remedy="Give both, --tls-certificate and --tls-key.")
        for path in (self.certificate, self.key):
            if path is not None and not path.is_file():
                raise LaunchError(f"there is no file {path}.", remedy="Correct the path.")
        if not (self.tls or self.behind_proxy or is_loopback(host)):
            raise LaunchError(
                f"{host} can be reached from other machines, and API keys would travel there unencrypted.",
                remedy="Give --tls-certificate and --tls-key; or say --behind-proxy if a proxy or a private network "
                "protects them; or listen on 127.0.0.1.",
            )

    def arguments(self) -> list[str]:
        """For `python -m service.server`."""
        paths = {"--tls-certificate": self.certificate, "--tls-key": self.key}
        given = [part for name, path in paths.items() if path for part in (name, str(path))]
        return [*given, *(["--behind-proxy"] if self.behind_proxy else [])]


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own. A name other than `localhost` may be anything."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
