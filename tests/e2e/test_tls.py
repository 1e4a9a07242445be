"""`expunge up` uses TLS only if it has a certificate, and without one listens on the loopback interface only."""

import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes.stack import command, environment, running_stack


def certificate(folder: Path) -> tuple[Path, Path]:
    """Create a self-signed certificate for this machine, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk")])
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    signed = made.add_extension(address, critical=False).sign(key, hashes.SHA256())
    paths = folder / "cert.pem", folder / "key.pem"
    pem, form, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[0].write_bytes(signed.public_bytes(pem))
    paths[1].write_bytes(key.private_bytes(pem, form, plain))
    return paths


def test_certificate_enables_tls_only(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)
    with running_stack(tmp_path / "data", EXPUNGE_TLS_CERTIFICATE=str(cert), EXPUNGE_TLS_KEY=str(key)) as stack:
        assert stack.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=cert)
        with httpx.Client(verify=trusting, headers=stack.authorization, trust_env=False) as http:
            assert http.get(f"{stack.url}/v1/edits").json()["data"] == []
        with pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
            httpx.get(f"{stack.url}/healthz", trust_env=False)
        with pytest.raises(httpx.TransportError):
            httpx.get(f"{stack.url.replace('https', 'http')}/healthz", trust_env=False)


def test_public_address_without_certificate_is_rejected_before_start(tmp_path: Path) -> None:
    up = command("up", "--data-dir", tmp_path / "data", "--host", "0.0.0.0", "--port", "0")
    done = subprocess.run(up, env=environment(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 3
    assert "unencrypted" in done.stderr
    assert not (tmp_path / "data").exists()
