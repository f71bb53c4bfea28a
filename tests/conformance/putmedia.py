"""PutMedia by hand: requests signed as one likes, Matroska as one likes, and every byte of the answer."""
import hashlib
import json
import select
import socket
import time

from tools import kvgtest
from kvgtest import AVCC, element, number

EMPTY = hashlib.sha256(b"").hexdigest()


class Upload:
    """One PutMedia call. @headers: name -> value to add or replace, None to leave out; @unsigned: names
    that are sent and not signed."""

    def __init__(self, site, stream, keys=None, headers=None, unsigned=(), query="", secret=None,
                 spoil=None, wait_for_status=True, path="/putMedia"):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        class Signer(SigV4Auth):
            def payload(self, request):
                return EMPTY

            def headers_to_sign(self, request):
                all_headers = super().headers_to_sign(request)
                for name in unsigned:
                    del all_headers[name]
                return all_headers

        self.port = site.ports["http"]
        keys = keys or site.administrator()
        wanted = {"Host": f"127.0.0.1:{self.port}", "x-amzn-stream-name": stream,
                  "x-amzn-fragment-timecode-type": "ABSOLUTE"}
        for name, value in (headers or {}).items():
            wanted.pop(name, None)
            if value is not None:
                wanted[name] = value
        # Never signed by any producer.
        expect = wanted.pop("Expect", None)
        url = f"http://127.0.0.1:{self.port}{path}" + (f"?{query}" if query else "")
        request = AWSRequest("POST", url, headers=wanted)
        Signer(Credentials(keys["aws_access_key_id"], secret or keys["aws_secret_access_key"],
                           keys.get("aws_session_token")), "kinesisvideo",
               kvgtest.REGION).add_auth(request)
        head = f"POST {path}{'?' + query if query else ''} HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        if expect:
            head += f"Expect: {expect}\r\n"
        for name, value in request.headers.items():
            head += f"{name}: {value}\r\n"
        self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
        self.buffer, self.acks, self.chunks, self.ended = b"", [], [], False
        self.socket.sendall((spoil(head) if spoil else head).encode() + b"\r\n")
        if wait_for_status:
            self.read_head()

    def read_head(self):
        while b"\r\n\r\n" not in self.buffer:
            self.receive()
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in
                        (line.partition(":") for line in lines[1:])}

    def receive(self):
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the connection ended: " + repr(self.buffer))
        self.buffer += data

    def error(self):
        """(status, type, body) of a refusal."""
        size = int(self.headers["content-length"])
        while len(self.buffer) < size:
            self.receive()
        return (self.status, self.headers["x-amzn-errortype"].split(":")[0],
                json.loads(self.buffer[:size]))

    def send(self, data):
        """In chunks of 1 MiB. The server may have hung up: then what it said counts."""
        try:
            for at in range(0, len(data), 1 << 20):
                part = data[at:at + (1 << 20)]
                self.socket.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass

    def take_chunk(self):
        """The next chunk of the answer, b"" at its end."""
        while b"\r\n" not in self.buffer:
            self.receive()
        line, _, rest = self.buffer.partition(b"\r\n")
        size = int(line, 16)
        while len(rest) < size + 2:
            self.receive()
            rest = self.buffer.partition(b"\r\n")[2]
        self.buffer = rest[size + 2:]
        return rest[:size]

    def read_ack(self):
        """The next acknowledgement, None at the end."""
        try:
            chunk = self.take_chunk()
        except ConnectionError:
            self.ended = "cut"
            return None
        if not chunk:
            self.ended = True
            return None
        self.chunks.append(chunk)
        self.acks.append(json.loads(chunk))
        return self.acks[-1]

    def read_until(self, kind):
        while True:
            ack = self.read_ack()
            assert ack is not None, f"no {kind}, but {self.acks}"
            if ack["EventType"] == kind:
                return ack

    def finish(self):
        """The zero chunk, and all that is still said."""
        try:
            self.socket.sendall(b"0\r\n\r\n")
        except OSError:
            pass
        while self.read_ack() is not None:
            pass
        return self

    def is_silent(self, seconds):
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def words(self):
        """BUFFERING, RECEIVED, ..., "4004" for an error: what was said, in order, with n for the n-th
        fragment."""
        seen, out = {}, []
        for ack in self.acks:
            kind = ack["EventType"]
            if kind == "IDLE":
                continue
            n = seen.setdefault(ack.get("FragmentNumber"), len(seen) + 1)
            out.append(str(ack["ErrorId"]) if kind == "ERROR" else f"{kind[0]}{n}")
        return out


# ---- Matroska

def unknown(identifier):
    return bytes.fromhex(identifier) + b"\x01" + b"\xff" * 7


def ebml(doc_type=b"matroska"):
    return element("1a45dfa3", number("4286", 1, 1) + number("42f7", 1, 1) + number("42f2", 4, 1) +
                   number("42f3", 8, 1) + element("4282", doc_type) + number("4287", 2, 1) +
                   number("4285", 2, 1))


def info(scale=1000000):
    return element("1549a966", number("2ad7b1", scale, 8))


def track(n, kind=1):
    video = element("e0", number("b0", 1280, 2) + number("ba", 720, 2)) + element("63a2", AVCC)
    audio = element("63a2", b"\x11\x90")
    codec = b"V_MPEG4/ISO/AVC" if kind == 1 else b"A_AAC"
    return element("ae", number("d7", n, 1) + number("73c5", n, 8) + number("83", kind, 1) +
                   element("86", codec) + (video if kind == 1 else audio))


def tracks(*entries):
    return element("1654ae6b", b"".join(entries or (track(1),)))


def header(*entries, segment=None):
    return ebml() + (segment or unknown("18538067")) + info() + tracks(*entries)


def block(n=1, at=0, key=True, size=64):
    return element("a3", bytes([0x80 | n]) + at.to_bytes(2, "big") + (b"\x80" if key else b"\0") +
                   b"\0\0\0\x01" * (size // 4))


def block_group(n=1, at=0, size=64):
    return element("a0", element("a1", bytes([0x80 | n]) + at.to_bytes(2, "big") + b"\0" +
                                 b"\0\0\0\x01" * (size // 4)))


def cluster(timecode, *blocks, known_size=False, more=b""):
    content = number("e7", timecode, 8) + more + b"".join(blocks or (block(), block(at=900, key=False)))
    return element("1f43b675", content) if known_size else unknown("1f43b675") + content


def tag(*pairs):
    return element("1254c367", b"".join(
        element("7373", element("67c8", element("45a3", name) + element("4487", value)))
        for name, value in pairs))


def now():
    return int(time.time() * 1000)
