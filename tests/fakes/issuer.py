"""A minimal OpenID Connect provider: it signs ID tokens for whoever comes, with the claims that a test sets."""

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey

CLIENT_ID, CLIENT_SECRET = "expunge", "s3cret"


class Issuer:
    """The provider's state. A test may set `claims`, which override those of the ID token, and `signing_key`."""

    def __init__(self) -> None:
        self.url = ""
        self.key = ECKey.generate_key("P-256", parameters={"kid": "1"})
        self.signing_key = self.key
        self.claims: dict[str, Any] = {}
        self._codes: dict[str, dict[str, str]] = {}

    def metadata(self) -> dict[str, str]:
        ends = {"authorization_endpoint": "/authorize", "token_endpoint": "/token", "jwks_uri": "/keys"}
        return {"issuer": self.url} | {name: self.url + path for name, path in ends.items()}

    def authorize(self, query: dict[str, str]) -> str:
        """Return where the browser is sent back to."""
        code = f"code{len(self._codes)}"
        self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def exchange(self, form: dict[str, str]) -> dict[str, Any]:
        """Return the tokens for a code, if its verifier fits. Each code counts once."""
        asked = self._codes.pop(form["code"])
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        assert challenge.decode() == asked["code_challenge"]
        now = int(time.time())
        claims = {"iss": self.url, "sub": "u1", "aud": CLIENT_ID, "iat": now, "exp": now + 60, "nonce": asked["nonce"]}
        token = jwt.encode({"alg": "ES256", "kid": "1"}, claims | {"name": "Ann"} | self.claims, self.signing_key)
        return {"access_token": "a", "token_type": "Bearer", "id_token": token}


@contextmanager
def running_issuer() -> Iterator[Issuer]:
    """Serve a provider on a free port."""
    issuer = Issuer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
            if path == "/authorize":
                self.send_response(302)
                self.send_header("Location", issuer.authorize({k: v[0] for k, v in parse_qs(query).items()}))
                self.end_headers()
                return
            self._reply(issuer.metadata() if "well-known" in path else {"keys": [issuer.key.as_dict(private=False)]})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._reply(issuer.exchange({name: values[0] for name, values in form.items()}))

        def _reply(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield issuer
    server.shutdown()
