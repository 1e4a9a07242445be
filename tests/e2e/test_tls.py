"""`expunge up` uses TLS only if it has a certificate, and without one listens on the loopback interface only."""

import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.fakes.certificate import write_certificate
from tests.fakes.stack import command, environment, running_stack


def test_certificate_enables_tls_only(tmp_path: Path) -> None:
    cert, key = write_certificate(tmp_path)
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
    assert done.returncode == 2
    assert "unencrypted" in done.stderr
    assert not (tmp_path / "data").exists()
