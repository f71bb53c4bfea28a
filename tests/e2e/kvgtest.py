"""What the end-to-end tests share: the programs as a user runs them, in a private folder, on free
ports, each stopped by its own process id."""
import atexit
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request

BUILD = os.environ["KVG_BUILD"]
REGION = "us-east-1"
PATIENCE_S = 120


def clean_environment(**more):
    kept = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    kept.update(more)
    return kept


def wait_for(what, condition, patience_s=PATIENCE_S):
    """Polls until condition() is true; its value."""
    end = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("gave up waiting for " + what)
        time.sleep(0.2)


class Program:
    """A started program whose first line of output says that it is ready."""

    def __init__(self, site, name, arguments, stdin=None):
        self.log = open(os.path.join(site.folder, name + ".log"), "ab")
        self.process = subprocess.Popen(
            [os.path.join(BUILD, arguments[0])] + arguments[1:],
            stdin=stdin, stdout=subprocess.PIPE, stderr=self.log, env=site.environment, start_new_session=True)
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError(f"{name} did not start, see its log")
        self.ready = json.loads(line)

    def stop(self, signal_number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        status = self.process.wait(timeout=60)
        self.process.stdout.close()
        self.log.close()
        return status


class Site:
    """A server, test cameras and an agent."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="kvg-e2e-")
        self.environment = clean_environment(
            AWS_SHARED_CREDENTIALS_FILE=self.path("server/credentials"),
            AWS_CA_BUNDLE=self.path("server/ca.pem"), AWS_DEFAULT_REGION=REGION, AWS_REGION=REGION,
            AWS_EC2_METADATA_DISABLED="true")
        self.server = self.cameras = self.agent = None
        self.ports = {"https": 0, "mtls": 0, "http": 0, "mqtt": 0}
        atexit.register(self.clean)

    def path(self, name):
        return os.path.join(self.folder, name)

    def clean(self):
        for program in (self.agent, self.cameras, self.server):
            if program is not None and program.process.poll() is None:
                program.stop()
        if sys.exc_info()[0] is not None or getattr(sys, "last_value", None) is not None:
            self.show_logs()
        shutil.rmtree(self.folder, ignore_errors=True)

    def show_logs(self):
        for name in sorted(os.listdir(self.folder)):
            if name.endswith(".log"):
                with open(self.path(name), errors="replace") as log:
                    print(f"---- {name}\n" + log.read()[-3000:])

    # The ports of the first start are kept for the next ones.
    def start_server(self):
        self.server = Program(self, "server", [
            "kvg-server", "--data", self.path("server"), "--https-port", str(self.ports["https"]),
            "--mtls-port", str(self.ports["mtls"]), "--http-port", str(self.ports["http"]),
            "--mqtt-port", str(self.ports["mqtt"])])
        self.ports = {k: self.server.ready[k + "_port"] for k in self.ports}

    @property
    def endpoint(self):
        return f"https://127.0.0.1:{self.ports['https']}"

    def start_cameras(self, count, *more, width=320, height=176, fps=10):
        secret = self.path("camera-password")
        with open(os.open(secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
            out.write("p$ss word")
        self.cameras = Program(self, "testcam", [
            "kvg-testcam", "--cameras", str(count), "--port", "0", "--username", "viewer",
            "--password-file", secret, "--width", str(width), "--height", str(height),
            "--fps", str(fps), *more])
        self.names = [camera["name"] for camera in self.cameras.ready["cameras"]]

    def write_config(self, more=""):
        lines = [
            f"region: {REGION}", f"endpoint: {self.endpoint}",
            f"ca_bundle: {self.path('server/ca.pem')}", "identity: { directory: certs }",
            "spool: { path: spool, limit: 1GiB, memory_path: memory }", "api: { address: 127.0.0.1, port: 0 }", "cameras:"]
        for camera in self.cameras.ready["cameras"] if self.cameras else []:
            lines.append(f"  {camera['name']}: {{ source: \"{camera['url']}\", username: viewer, "
                         "password_file: camera-password }")
        with open(self.path("kvg.yaml"), "w") as out:
            out.write("\n".join(lines) + "\n" + more)

    def kvg(self, *arguments, check=True):
        done = subprocess.run([os.path.join(BUILD, "kvg"), *arguments], capture_output=True,
                              text=True, env=self.environment, timeout=PATIENCE_S)
        if check and done.returncode != 0:
            raise AssertionError(f"kvg {arguments}: {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def provision(self):
        return self.kvg("provision", "-c", self.path("kvg.yaml"))

    def start_agent(self):
        self.agent = Program(self, "agent", ["kvg", "agent", "-c", self.path("kvg.yaml")])

    def status(self):
        url = f"http://127.0.0.1:{self.agent.ready['api_port']}/api/cameras"
        with urllib.request.urlopen(url, timeout=30) as reply:
            return {camera["name"]: camera for camera in json.load(reply)["cameras"]}

    def wait_live(self):
        return wait_for("all cameras to be stored", lambda: all(
            camera["state"] == "live" and camera.get("fragments_persisted", 0) >= 2
            for camera in self.status().values()))

    def start_all(self, cameras=2):
        self.start_server()
        self.start_cameras(cameras)
        self.write_config()
        self.provision()
        self.start_agent()
        self.wait_live()

    # ---- AWS's own SDK

    def client(self, service, **more):
        import boto3
        import botocore.config
        session = boto3.session.Session(**(more or self.administrator()), region_name=REGION)
        return session.client(service, endpoint_url=self.endpoint,
                              verify=self.path("server/ca.pem"),
                              config=botocore.config.Config(retries={"max_attempts": 2}))

    def administrator(self):
        import configparser
        file = configparser.ConfigParser()
        file.read(self.path("server/credentials"))
        return {"aws_access_key_id": file["default"]["aws_access_key_id"],
                "aws_secret_access_key": file["default"]["aws_secret_access_key"]}

    def camera_keys(self, name, thing=None, certificate=None):
        """(status, JSON) of the credentials provider."""
        context = ssl.create_default_context(cafile=self.path("server/ca.pem"))
        stem = certificate or self.path("certs/" + name)
        context.load_cert_chain(stem + ".cert.pem", stem + ".private.key")
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.ports['mtls']}/role-aliases/KvgCamera/credentials",
            headers={"x-amzn-iot-thingname": thing or name})
        try:
            with urllib.request.urlopen(request, context=context, timeout=30) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def everything(self):
        """All that provisioning could leave behind in the account, but device shadows."""
        iot, kvs, iam = self.client("iot"), self.client("kinesisvideo"), self.client("iam")

        def pages(client, operation, key, name):
            return sorted(item[name] for page in client.get_paginator(operation).paginate() for item in page[key])

        return {
            "things": pages(iot, "list_things", "things", "thingName"),
            "certificates": pages(iot, "list_certificates", "certificates", "certificateId"),
            "policies": [p["policyName"] for p in iot.list_policies()["policies"]],
            "aliases": iot.list_role_aliases()["roleAliases"],
            "groups": [g["groupName"] for g in iot.list_thing_groups()["thingGroups"]],
            "streams": pages(kvs, "list_streams", "StreamInfoList", "StreamName"),
            "roles": [r["RoleName"] for r in iam.list_roles()["Roles"]]}

    # ---- what is stored

    def playlist(self, name):
        """[(fragment number, start in s, length in s)] of the last hour, oldest first."""
        url = self.kvg("play", name, "--on-demand", "-c", self.path("kvg.yaml")).stdout.strip()
        base, _, query = url.partition("?")
        base = f"http://127.0.0.1:{self.ports['http']}/hls/v1/"
        token = re.search("SessionToken=([^&]*)", query).group(1)
        media = fetch(f"{base}getHLSMediaPlaylist.m3u8?SessionToken={token}&TrackNumber=1").decode()
        self.media_base, self.media_token = base, token
        entries, start, length = [], None, None
        for line in media.splitlines():
            if line.startswith("#EXT-X-PROGRAM-DATE-TIME:"):
                from datetime import datetime
                text = line.split(":", 1)[1].replace("Z", "+00:00")
                start = datetime.fromisoformat(text).timestamp()
            elif line.startswith("#EXTINF:"):
                length = float(line.split(":")[1].rstrip(","))
            elif line.startswith("getMP4MediaFragment"):
                entries.append((re.search(r"FragmentNumber=(\d+)", line).group(1), start, length))
        return entries

    def fragment(self, number):
        """The fMP4 segment of a fragment of the playlist read last."""
        return fetch(f"{self.media_base}getMP4MediaFragment.mp4?FragmentNumber={number}"
                     f"&SessionToken={self.media_token}&TrackNumber=1")


def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as reply:
        return reply.read()


def find_gaps(entries, tolerance_s=0.25):
    """Where no stored fragment covers the time between the first and the last."""
    gaps, covered = [], None
    for _, start, length in sorted(entries, key=lambda entry: entry[1]):
        if covered is not None and start > covered + tolerance_s:
            gaps.append((covered, start))
        covered = max(covered or 0, start + length)
    return gaps


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(child) for child in file.read().split()]


def is_running(pid):
    """Whether there is such a process that has not ended."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# ---- a producer of our own, so that what was sent is known byte for byte

AVCC = bytes.fromhex("014d401fffe1001c674d401fda014016ec05a808080a00000300020000"
                     "03003d1e30654001000468ef3c80")


def element(identifier, payload):
    return bytes.fromhex(identifier) + (0x0100000000000000 | len(payload)).to_bytes(8, "big") + payload


def number(identifier, value, size):
    return element(identifier, value.to_bytes(size, "big"))


def mkv_header():
    ebml = element("1a45dfa3", number("4286", 1, 1) + number("42f7", 1, 1) + number("42f2", 4, 1) +
                   number("42f3", 8, 1) + element("4282", b"matroska") + number("4287", 2, 1) +
                   number("4285", 2, 1))
    info = element("1549a966", number("2ad7b1", 1000000, 8))
    track = element("ae", number("d7", 1, 1) + number("73c5", 1, 8) + number("83", 1, 1) +
                    element("86", b"V_MPEG4/ISO/AVC") +
                    element("e0", number("b0", 1280, 2) + number("ba", 720, 2)) +
                    element("63a2", AVCC))
    return ebml + bytes.fromhex("18538067ff") + info + element("1654ae6b", track)


def mkv_cluster(timecode_ms, frames, step_ms):
    out = bytes.fromhex("1f43b675ff") + number("e7", timecode_ms, 8)
    for i, frame in enumerate(frames):
        flags = b"\x80" if i == 0 else b"\x00"
        out += element("a3", b"\x81" + (i * step_ms).to_bytes(2, "big") + flags + frame)
    return out


class PutMedia:
    """One PutMedia call over the plain listener; a thread collects the acknowledgements."""

    def __init__(self, site, stream, keys=None):
        from botocore.auth import SigV4Auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        class Signer(SigV4Auth):
            def payload(self, request):
                import hashlib
                return hashlib.sha256(b"").hexdigest()

        port = site.ports["http"]
        keys = keys or site.administrator()
        request = AWSRequest("POST", f"http://127.0.0.1:{port}/putMedia", headers={
            "Host": f"127.0.0.1:{port}", "x-amzn-stream-name": stream,
            "x-amzn-fragment-timecode-type": "ABSOLUTE"})
        credentials = Credentials(keys["aws_access_key_id"], keys["aws_secret_access_key"],
                                  keys.get("aws_session_token"))
        Signer(credentials, "kinesisvideo", REGION).add_auth(request)
        self.acks, self.closed = [], threading.Event()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        head = "POST /putMedia HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
        for name, value in request.headers.items():
            head += f"{name}: {value}\r\n"
        self.socket.sendall(head.encode() + b"\r\n")
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        try:
            file = self.socket.makefile("rb")
            self.status = int(file.readline().split()[1])
            while file.readline().strip():
                pass
            if self.status != 200:
                raise OSError(self.status)
            while True:
                size = int(file.readline() or b"0", 16)
                if size == 0:
                    break
                self.acks.append(json.loads(file.read(size)))
                file.readline()
        except (OSError, ValueError, IndexError):
            pass
        self.closed.set()

    def send(self, data):
        self.socket.sendall(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    def finish(self):
        self.socket.sendall(b"0\r\n\r\n")
        assert self.closed.wait(60), "the response did not end"

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.socket.close()
        self.thread.join(30)

    def persisted(self):
        return {ack["FragmentTimecode"]: ack["FragmentNumber"] for ack in list(self.acks)
                if ack["EventType"] == "PERSISTED"}
