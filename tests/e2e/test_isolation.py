"""Twenty cameras, each with its own keys against every other's stream and shadow: over HTTPS and MQTT, for every
action, nothing succeeds; on its own everything does."""
import http.client
import json
import socket
import ssl
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import kvgtest

CAMERAS = 20
site = kvgtest.Site()
site.start_server()
names = [f"cam{i:02}" for i in range(CAMERAS)]
site.write_config("".join(f"  {name}: {{ source: \"test:\" }}\n" for name in names))
site.provision()
attempts = {"own": 0, "foreign": 0}
lock = threading.Lock()


def judge(kind, what, succeeded):
    with lock:
        attempts[kind] += 1
    assert succeeded == (kind == "own"), f"{what}: {'refused' if kind == 'own' else 'SUCCEEDED'}"


# ---- keys of each camera; another's thing name gives none
def fetch_keys(name):
    for other in names:
        status, answer = site.camera_keys(name, thing=other)
        judge("own" if other == name else "foreign", f"keys of {other} for {name}", status == 200)
        if other == name:
            keys = answer["credentials"]
    return Credentials(keys["accessKeyId"], keys["secretAccessKey"], keys["sessionToken"])


pool = ThreadPoolExecutor(4)
credentials = dict(zip(names, pool.map(fetch_keys, names)))
kvs = site.client("kinesisvideo")
arns = {name: kvs.describe_stream(StreamName=name)["StreamInfo"]["StreamARN"] for name in names}
# Some video for each, so that reading has something to be refused.
start_ms = int(time.time() * 1000) - 10000
fragments = {}
for name in names:
    put = kvgtest.PutMedia(site, name)
    put.send(kvgtest.mkv_header() + b"".join(
        kvgtest.mkv_cluster(start_ms + 2000 * i, [b"\x00\x00\x00\x02\x65\x88"] * 3, 33) for i in range(3)))
    put.finish()
    fragments[name] = list(put.persisted().values())


# ---- streams: every call that names one
class Empty(botocore.auth.SigV4Auth):
    def payload(self, request):
        import hashlib
        return hashlib.sha256(request.data or b"").hexdigest()


connections = threading.local()


def call(caller, path, body, headers=None):
    """The HTTP status of a signed POST."""
    data = json.dumps(body).encode() if body is not None else b""
    request = AWSRequest("POST", f"http://127.0.0.1:{site.ports['http']}{path}", data=data,
                         headers={"Content-Type": "application/json", **(headers or {})})
    Empty(credentials[caller], "kinesisvideo", kvgtest.REGION).add_auth(request)
    if not hasattr(connections, "http"):
        connections.http = http.client.HTTPConnection("127.0.0.1", site.ports["http"], timeout=60)
    try:
        connections.http.request("POST", path, body=data, headers=dict(request.headers.items()))
        reply = connections.http.getresponse()
        reply.read()
    except (http.client.HTTPException, OSError):
        connections.http.close()
        raise
    if reply.getheader("Connection", "").lower() == "close":
        connections.http.close()
    return reply.status


def times():
    return {"FragmentSelectorType": "SERVER_TIMESTAMP",
            "TimestampRange": {"StartTimestamp": time.time() - 600, "EndTimestamp": time.time() + 60}}


def camera_actions(name):
    """What a camera may do with its own stream."""
    who = {"StreamName": name}
    now = time.time()
    return [
        ("/describeStream", who, None),
        ("/getDataEndpoint", {**who, "APIName": "PUT_MEDIA"}, None),
        ("/getHLSStreamingSessionURL", {**who, "PlaybackMode": "LIVE_REPLAY", "HLSFragmentSelector": {
            "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": now - 600}}}, None),
        ("/getDASHStreamingSessionURL", {**who, "PlaybackMode": "LIVE_REPLAY", "DASHFragmentSelector": {
            "FragmentSelectorType": "SERVER_TIMESTAMP", "TimestampRange": {"StartTimestamp": now - 600}}}, None),
        ("/listFragments", {**who, "FragmentSelector": times()}, None),
        ("/getMediaForFragmentList", {**who, "Fragments": fragments[name][:1]}, None),
        ("/getClip", {**who, "ClipFragmentSelector": times()}, None),
        ("/putMedia", None, {"x-amzn-stream-name": name, "x-amzn-fragment-timecode-type": "ABSOLUTE"}),
    ]


def forbidden_actions(name):
    """What no camera may do, not even with its own stream."""
    who = {"StreamName": name}
    return [
        ("/deleteStream", {"StreamARN": arns[name]}, None),
        ("/updateDataRetention", {**who, "CurrentVersion": "x", "Operation": "INCREASE_DATA_RETENTION",
                                  "DataRetentionChangeInHours": 1}, None),
        ("/updateStream", {**who, "CurrentVersion": "x", "MediaType": "video/h265"}, None),
        ("/tagStream", {**who, "Tags": {"a": "b"}}, None),
        ("/listTagsForStream", who, None),
    ]


def try_streams(caller):
    for other in names:
        kind = "own" if other == caller else "foreign"
        for path, body, headers in camera_actions(other):
            status = call(caller, path, body, headers)
            # An empty upload is let in and then found empty; a tiny clip is let in and cannot be cut.
            ok = status == 200 or (kind == "own" and path in ("/putMedia", "/getClip") and status == 400)
            judge(kind, f"{caller}: {path} of {other}: {status}", ok)
            if body and "StreamName" in body:
                by_arn = {**body, "StreamARN": arns[other]}
                del by_arn["StreamName"]
                status = call(caller, path, by_arn)
                ok = status == 200 or (kind == "own" and path == "/getClip" and status == 400)
                judge(kind, f"{caller}: {path} of the ARN of {other}: {status}", ok)
        for path, body, headers in forbidden_actions(other):
            status = call(caller, path, body, headers)
            judge("foreign", f"{caller}: {path} of {other}: {status}", status != 403)
    status = call(caller, "/listStreams", {})
    judge("foreign", f"{caller}: /listStreams: {status}", status != 403)


for _ in pool.map(try_streams, names):
    pass
still = {name: kvs.describe_stream(StreamName=name)["StreamInfo"]["Version"] for name in names}
assert len(still) == CAMERAS
print("streams:", attempts)


# ---- shadows over HTTPS: with the certificate, and with the role's keys
def device(name):
    context = ssl.create_default_context(cafile=site.path("server/ca.pem"))
    context.load_cert_chain(site.path(f"certs/{name}.cert.pem"), site.path(f"certs/{name}.private.key"))
    return http.client.HTTPSConnection("127.0.0.1", site.ports["mtls"], context=context, timeout=60)


def try_https_shadows(caller):
    connection = device(caller)
    for other in names:
        if other == caller:
            continue
        for method, path, body in (("GET", f"/things/{other}/shadow", b""),
                                   ("POST", f"/things/{other}/shadow", b'{"state":{"desired":{"fps":1}}}'),
                                   ("DELETE", f"/things/{other}/shadow", b""),
                                   ("POST", f"/things/{other}/shadow?name=x", b'{"state":{"desired":{"fps":1}}}'),
                                   ("GET", f"/api/things/shadow/ListNamedShadowsForThing/{other}", b""),
                                   ("POST", f"/topics/%24aws%2Fthings%2F{other}%2Fshadow%2Fupdate?qos=1", b"{}")):
            connection.request(method, path, body=body)
            reply = connection.getresponse()
            reply.read()
            judge("foreign", f"{caller}: {method} {path}: {reply.status}", reply.status not in (400, 403))
    connection.close()


for _ in pool.map(try_https_shadows, names):
    pass


# ---- shadows over MQTT 3.1.1, by hand, so that no client's kindness is in between
class Mqtt:
    def __init__(self, certificate, client):
        context = ssl.create_default_context(cafile=site.path("server/ca.pem"))
        context.load_cert_chain(site.path(f"certs/{certificate}.cert.pem"),
                                site.path(f"certs/{certificate}.private.key"))
        raw = socket.create_connection(("127.0.0.1", site.ports["mqtt"]), timeout=30)
        self.socket = context.wrap_socket(raw, server_hostname="127.0.0.1")
        self.buffer, self.packet = b"", 0
        self.send(0x10, b"\x00\x04MQTT\x04\x02\x00\x3c" + self.text(client))

    @staticmethod
    def text(value):
        data = value.encode()
        return struct.pack(">H", len(data)) + data

    def send(self, kind, body):
        length, size = len(body), b""
        while True:
            length, digit = divmod(length, 128)
            size += bytes([digit | (0x80 if length else 0)])
            if not length:
                break
        self.socket.sendall(bytes([kind]) + size + body)

    def take(self, n):
        while len(self.buffer) < n:
            data = self.socket.recv(4096)
            if not data:
                raise ConnectionError("closed")
            self.buffer += data
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def receive(self):
        """(kind, body); (None, b"") when the connection has ended."""
        try:
            kind, size, shift = self.take(1)[0], 0, 0
            while True:
                digit = self.take(1)[0]
                size |= (digit & 0x7f) << shift
                shift += 7
                if digit < 0x80:
                    return kind, self.take(size)
        except (OSError, ConnectionError):
            return None, b""

    def connected(self):
        kind, body = self.receive()
        return kind == 0x20 and body[1] == 0

    def expect(self, wanted):
        """The next packet of that kind; others are what was subscribed to."""
        while True:
            kind, body = self.receive()
            if kind is None or kind & 0xf0 == wanted:
                return body if kind is not None else None

    def subscribe(self, *filters):
        self.packet += 1
        self.send(0x82, struct.pack(">H", self.packet) + b"".join(self.text(f) + b"\x01" for f in filters))
        body = self.expect(0x90)
        return list(body[2:]) if body is not None else [128] * len(filters)

    def publish(self, topic, payload=b""):
        """Whether it was acknowledged; a broker may do so for what it throws away."""
        self.packet += 1
        self.send(0x32, self.text(topic) + struct.pack(">H", self.packet) + payload)
        return self.expect(0x40) is not None

    def close(self):
        self.socket.close()


TOPICS = ("get", "get/accepted", "get/rejected", "update", "update/accepted", "update/delta", "update/documents",
          "update/rejected", "delete", "delete/accepted", "name/x/update/accepted")


def try_mqtt_on(caller, other):
    kind = "own" if other == caller else "foreign"
    client = Mqtt(caller, caller)
    assert client.connected(), caller
    for i in range(0, len(TOPICS), 8):
        topics = TOPICS[i:i + 8]
        granted = client.subscribe(*(f"$aws/things/{other}/shadow/{topic}" for topic in topics))
        for topic, code in zip(topics, granted):
            judge(kind, f"{caller}: subscribe {topic} of {other}: {code}", code < 128)
    client.close()
    if kind == "own":
        return
    # Whatever the broker says: what was sent must not have been obeyed, see below.
    for topic, payload in (("update", b'{"state":{"reported":{"by":"' + caller.encode() + b'"}}}'),
                           ("delete", b""), ("name/x/update", b'{"state":{"reported":{"by":1}}}')):
        client = Mqtt(caller, caller)
        assert client.connected(), caller
        client.publish(f"$aws/things/{other}/shadow/{topic}", payload)
        client.close()
    thief = Mqtt(caller, other)
    judge("foreign", f"{caller} as client {other}", thief.connected())
    thief.close()


def try_mqtt(caller):
    for other in names:
        try_mqtt_on(caller, other)
    for wild in ("#", "$aws/#", "$aws/things/+/shadow/#", "$aws/things/+/shadow/update"):
        client = Mqtt(caller, caller)
        assert client.connected(), caller
        judge("foreign", f"{caller}: subscribe {wild}", client.subscribe(wild)[0] < 128)
        client.close()
    client = Mqtt(caller, caller)
    assert client.connected(), caller
    client.publish(f"$aws/things/{caller}/shadow/update",
                   b'{"state":{"reported":{"own":"' + caller.encode() + b'"}}}')
    client.close()


for _ in pool.map(try_mqtt, names):
    pass
data = site.client("iot-data")


def document(name):
    try:
        return json.loads(data.get_thing_shadow(thingName=name)["payload"].read())["state"].get("reported", {})
    except data.exceptions.ResourceNotFoundException:
        return {}


for name in names:
    kvgtest.wait_for(f"the own report of {name}", lambda: "own" in document(name))
    for other in names:
        judge("own" if other == name else "foreign", f"{other} reported for {name}",
              document(name)["own"] == other if other == name else other == document(name).get("by"))
    assert document(name) == {"own": name}, document(name)
    assert data.list_named_shadows_for_thing(thingName=name)["results"] == []
pool.shutdown()
print("attempts:", attempts)
