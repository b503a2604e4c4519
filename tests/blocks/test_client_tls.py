"""A company's own certificate authority, named by the environment, is trusted by all of the client's ways out."""

import asyncio
import datetime
import ipaddress
import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from blocks import errors
from blocks.bulk import ChatRequest
from blocks.client import FireworksClient

ANSWER = {"accounts": [{"name": "accounts/acme"}], "choices": [{"message": {"role": "assistant", "content": "hi"}}]}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A certificate of 127.0.0.1 that is its own authority, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A company's own")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = tmp_path_factory.mktemp("tls") / "own.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + secret)
    return path


@pytest.fixture
def url(certificate):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.rfile.read(int(self.headers.get("content-length", 0)))
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET

        def log_message(self, *args):
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *args: None  # handshakes that the client breaks off are meant
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def ask_in_bulk(client):
    async def run():
        request = ChatRequest("r", "m", [{"role": "user", "content": "x"}])
        return [r async for r in client.chat_many([request], patience_s=0)]

    [result] = asyncio.run(run())
    return result


def test_an_authority_from_the_environment_is_trusted(url, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with FireworksClient(url) as client:
        assert client.account == "acme"
        assert client.chat("m", []).choices[0].message.content == "hi"
        assert client._connection.get_signed(f"{url}/signed?sig=1") == json.dumps(ANSWER)
        assert ask_in_bulk(client).completion.choices[0].message.content == "hi"


def test_without_it_nothing_is_sent(url, monkeypatch):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with FireworksClient(url, account="acme", sleep=lambda s: None) as client:
        with pytest.raises(errors.NotReached, match="CERTIFICATE_VERIFY_FAILED"):
            client.list_accounts()
        assert "CERTIFICATE_VERIFY_FAILED" in str(ask_in_bulk(client).error)
