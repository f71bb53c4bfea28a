"""Attempts on kvg-server: each a row. None gets data that is not its own, and a camera that uploads
beside all of them loses nothing and waits for nothing."""
import base64
import concurrent.futures
import datetime
import hashlib
import hmac
import json
import re
import resource
import socket
import ssl
import sys
import threading
import time
import urllib.parse

from putmedia import (Upload, block, cluster, ebml, element, header, info, now, number, tag, unknown)
from test_conformance import kvgtest, start
from test_putmedia import list_fragments

END = tag((b"AWS_KINESISVIDEO_END_OF_FRAGMENT", b""))
MAX_GROWTH_MB = 600  # of the server's memory, over all attempts ...
KEPT_MB = 150        # ... and soon after
MAX_WAIT_S = 20      # of the camera beside them, on a machine with other work
WANTED_IDLE = 10000


# ---- the camera that must not notice

class Camera(threading.Thread):
    def __init__(self, site, stream):
        super().__init__(daemon=True)
        self.site, self.stream, self.ending = site, stream, threading.Event()
        self.sent, self.longest, self.failure, self.numbers = 0, 0, None, []

    def run(self):
        try:
            upload = Upload(self.site, self.stream)
            upload.send(header())
            base = now() - 3600000
            while not self.ending.is_set():
                began = time.monotonic()
                upload.send(cluster(base + 1000 * self.sent) + END)
                self.numbers.append(upload.read_until("PERSISTED")["FragmentNumber"])
                self.sent += 1
                self.longest = max(self.longest, time.monotonic() - began)
                time.sleep(0.1)
            upload.finish()
        except Exception as error:
            self.failure = f"{type(error).__name__}: {error}"


# ---- talking

def talk(port, data, tls=None, patience=15):
    """Status, head and body of the answer; (0, "", b"") if the server just hung up."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as plain:
        with (tls.wrap_socket(plain, server_hostname="127.0.0.1") if tls else plain) as connection:
            try:
                connection.sendall(data)
            except OSError:
                pass
            answer = b""
            try:
                while True:
                    part = connection.recv(65536)
                    if not part:
                        break
                    answer += part
                    head, found, body = answer.partition(b"\r\n\r\n")
                    size = re.search(rb"content-length: (\d+)", head.lower())
                    if found and size and len(body) >= int(size.group(1)):
                        break
            except ConnectionError:
                pass
    head, _, body = answer.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    return (int(words[1]) if len(words) > 1 else 0), head.decode("latin-1"), body


def sign(keys, path, body=b"", method="POST", service="kinesisvideo", region=kvgtest.REGION, at=0,
         token=None, host="127.0.0.1", query="", secret=None, terminator="aws4_request",
         algorithm="AWS4-HMAC-SHA256", signed_body=None, scope_date=None):
    """Headers of a request signed @at seconds from now."""
    date = (datetime.datetime.now(datetime.timezone.utc) +
            datetime.timedelta(seconds=at)).strftime("%Y%m%dT%H%M%SZ")
    hashed = hashlib.sha256(body if signed_body is None else signed_body).hexdigest()
    canonical = f"{method}\n{path}\n{query}\nhost:{host}\nx-amz-date:{date}\n\nhost;x-amz-date\n{hashed}"
    scope = f"{scope_date or date[:8]}/{region}/{service}/{terminator}"
    text = f"{algorithm}\n{date}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = b"AWS4" + (keys["aws_secret_access_key"] if secret is None else secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers = {"Host": host, "X-Amz-Date": date,
               "Authorization": f"{algorithm} Credential={keys['aws_access_key_id']}/{scope}, "
                                f"SignedHeaders=host;x-amz-date, Signature={signature}"}
    token = token or keys.get("aws_session_token")
    if token:
        headers["X-Amz-Security-Token"] = token
    return headers


def request(path, headers, body=b"", method="POST"):
    lines = [f"{method} {path} HTTP/1.1"] + [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines + [f"Content-Length: {len(body)}", "", ""])).encode("latin-1") + body


class Target:
    """A server, two streams with video in them, and somebody who may only use one of them."""

    def __init__(self):
        self.site = start()
        self.port, self.tls_port = self.site.ports["http"], self.site.ports["https"]
        self.tls = ssl.create_default_context(cafile=self.site.path("server/ca.pem"))
        self.administrator = self.site.administrator()
        client = self.site.client("kinesisvideo")
        self.arns = {name: client.create_stream(StreamName=name, DataRetentionInHours=24)["StreamARN"]
                     for name in ("mine", "theirs", "camera")}
        for name in ("mine", "theirs"):
            upload = Upload(self.site, name)
            upload.send(header() + cluster(now() - 5000, block(), block(at=900)))
            upload.finish()
        self.theirs = list_fragments(self.site, "theirs")[0]["FragmentNumber"]
        self.thief = self.session("mine")
        self.secrets = [self.administrator["aws_secret_access_key"],
                        self.thief["aws_secret_access_key"], "SQLite format", "root:", "PRIVATE KEY"]

    def session(self, stream):
        iam, sts = self.site.client("iam"), self.site.client("sts")
        trust = {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}}
        right = {"Statement": {"Effect": "Allow", "Action": "kinesisvideo:*",
                               "Resource": f"arn:aws:kinesisvideo:*:*:stream/{stream}/*"}}
        role = iam.create_role(RoleName=stream, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        iam.put_role_policy(RoleName=stream, PolicyName="p", PolicyDocument=json.dumps(right))
        keys = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="thief")["Credentials"]
        return {"aws_access_key_id": keys["AccessKeyId"],
                "aws_secret_access_key": keys["SecretAccessKey"],
                "aws_session_token": keys["SessionToken"]}

    def session_token(self, stream):
        url = self.site.client("kinesis-video-archived-media").get_hls_streaming_session_url(
            StreamName=stream, PlaybackMode="ON_DEMAND", HLSFragmentSelector={
                "FragmentSelectorType": "SERVER_TIMESTAMP",
                "TimestampRange": {"StartTimestamp": time.time() - 3600,
                                   "EndTimestamp": time.time() - 1}})
        return urllib.parse.parse_qs(urllib.parse.urlparse(
            url["HLSStreamingSessionURL"]).query)["SessionToken"][0]

    def memory_mb(self):
        with open(f"/proc/{self.site.server.process.pid}/status") as file:
            return int(re.search(r"VmRSS:\s+(\d+)", file.read()).group(1)) // 1024

    def refuses(self, data, statuses=range(400, 600), tls=False):
        """The answer is an error, or none, and tells no secret."""
        status, head, body = talk(self.tls_port if tls else self.port, data, self.tls if tls else None)
        text = head + body.decode("latin-1")
        assert status == 0 or status in statuses, (status, text[:300])
        assert not any(secret in text for secret in self.secrets), text[:300]
        return status, body

    def call(self, path, body, headers=None, **how):
        data = json.dumps(body).encode()
        keys = how.pop("keys", self.administrator)
        signed = sign(keys, path, data, **how)
        signed.update(headers or {})
        return self.refuses(request(path, signed, data))


ATTEMPTS = []


def attempt(label):
    def keep(function):
        ATTEMPTS.append((label, function))
        return function
    return keep


def table(label, rows):
    """One attempt a row: @rows is name -> function of the target."""
    for name, function in rows.items():
        ATTEMPTS.append((f"{label}: {name}", function))


# ---- requests that are no requests

def raw(data, statuses=range(400, 600)):
    return lambda target: target.refuses(data, statuses)


GET = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /listStreams HTTP/1.1\r\nHost: x\r\n"
table("HTTP", {
    "64 KiB of a header": raw(GET + b"X: " + b"a" * 65536 + b"\r\n\r\n", [431]),
    "64 KiB of headers": raw(GET + b"X: y\r\n" * 11000 + b"\r\n", [431]),
    "64 KiB of a path": raw(b"GET /" + b"a" * 65536 + b" HTTP/1.1\r\n\r\n", [431]),
    "64 KiB of a method": raw(b"A" * 65536 + b" / HTTP/1.1\r\n\r\n", [400, 431]),
    "10 MiB announced": raw(POST + b"Content-Length: 10485760\r\n\r\n", [400, 413]),
    "2^64 announced": raw(POST + b"Content-Length: 18446744073709551616\r\n\r\n", [400]),
    "a negative length": raw(POST + b"Content-Length: -1\r\n\r\n", [400]),
    "two lengths": raw(POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", [400]),
    "length and chunks": raw(POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                             [400]),
    "10 MiB in chunks": raw(POST + b"Transfer-Encoding: chunked\r\n\r\n" +
                            (b"10000\r\n" + b"x" * 65536 + b"\r\n") * 160, [400, 413]),
    "a chunk size that is none": raw(POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", [400]),
    "a chunk size of 2^64": raw(POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", [400]),
    "chunks twice": raw(POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "an unknown coding": raw(POST + b"Transfer-Encoding: gzip\r\n\r\n"),
    "a folded header": raw(GET + b"X: a\r\n b\r\n\r\n"),
    "NUL in a header": raw(GET + b"X: a\0b\r\n\r\n", [400]),
    "a bare CR": raw(GET + b"X: a\rb\r\n\r\n", [400]),
    "a space before the colon": raw(GET + b"X : a\r\n\r\n", [400]),
    "HTTP/0.9": raw(b"GET /\r\n\r\n"),
    "HTTP/3.0": raw(b"GET / HTTP/3.0\r\n\r\n"),
    "TLS on the plain port": raw(bytes.fromhex("1603010200010001fc0303") + b"\0" * 100),
    "TRACE": raw(b"TRACE /listStreams HTTP/1.1\r\nHost: x\r\nCookie: secret\r\n\r\n"),
    "CONNECT": raw(b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com\r\n\r\n"),
    "a second request hidden in the body": raw(
        POST + b"Content-Length: 33\r\n\r\nGET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", [403]),
})

# ---- paths


def get(path, tls=False):
    return lambda target: target.refuses(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode(),
                                         tls=tls)


table("path", {path: get(path) for path in (
    "/../../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc%2fpasswd", "/state.db",
    "/hls/v1/../../state.db", "/hls/v1/%2e%2e/%2e%2e/credentials", "/hls/v1/..\\..\\ca.key",
    "/hls/v1//getHLSMasterPlaylist.m3u8", "/credentials", "/ca.key", "//healthz", "/healthz/",
    "/healthz%00", "/HEALTHZ", "/metrics/../metrics", "//metrics", "/healthz/../metrics",
    "http://127.0.0.1/metrics/", "/hls/v1/getMP4MediaFragment.mp4", "/dash/v1/../hls/v1/",
    "/role-aliases/x/credentials", "/things/x/shadow")})
table("path", {"/metrics over TLS": get("/metrics", tls=True)})

# ---- signatures

LIST = ("/listStreams", {})


def refusal(kind, message):
    """The attempt is refused with that type of error and a message that begins so."""
    def check(answer):
        status, head, body = answer
        found = re.search(r"x-amzn-ErrorType: (\w+)", head)
        assert found and found.group(1) == kind, (status, head)
        assert json.loads(body)["message"].startswith(message), body
        assert status == (400 if kind == "IncompleteSignatureException" else 403), status
    return check


BAD = "InvalidSignatureException"
CHANGED = refusal(BAD, "The request signature we calculated does not match")
INCOMPLETE = refusal("IncompleteSignatureException", "")
UNKNOWN = refusal("UnrecognizedClientException", "The security token included in the request is invalid.")


def signed(check=CHANGED, **how):
    def run(target):
        data = b"{}"
        check(talk(target.port, request("/listStreams", sign(target.administrator, "/listStreams", data,
                                                             **how), data)))
    return run


def header_changed(name, value, check=CHANGED):
    def run(target):
        headers = {**sign(target.administrator, "/listStreams", b"{}"), name: value}
        check(talk(target.port, request("/listStreams", headers, b"{}")))
    return run


def no_credential(access_key, check=lambda answer: None):
    def run(target):
        keys = {"aws_access_key_id": access_key, "aws_secret_access_key": ""}
        data = request("/listStreams", sign(keys, "/listStreams", b"{}"), b"{}")
        target.refuses(data)
        check(talk(target.port, data))
    return run


table("signature", {
    "of six minutes ago": signed(refusal(BAD, "Signature expired: "), at=-360),
    "of six minutes ahead": signed(refusal(BAD, "Signature not yet current: "), at=360),
    "of another day's scope": signed(refusal(
        BAD, "Date in Credential scope does not match YYYYMMDD"), scope_date="20200101"),
    "with an empty secret": signed(secret=""),
    "with a wrong secret": signed(secret="x" * 40),
    "for another service": signed(refusal(
        BAD, "Credential should be scoped to correct service: 'kinesisvideo'."), service="s3"),
    "for another region": signed(refusal(
        BAD, "Credential should be scoped to a valid Region, not 'eu-west-1'."), region="eu-west-1"),
    "with another terminator": signed(refusal(
        BAD, "Credential should be scoped with a valid terminator: 'aws4_request'"),
        terminator="aws5_request"),
    "with another algorithm": signed(INCOMPLETE, algorithm="AWS4-HMAC-SHA1"),
    "with the algorithm none": signed(INCOMPLETE, algorithm="none"),
    "over another body": signed(signed_body=b"other"),
    "over another method": signed(method="GET"),
    "over another query": signed(query="a=b"),
    "for another host": header_changed("Host", "example.com"),
    "moved in time": header_changed("X-Amz-Date", "20300101T000000Z", refusal(BAD, "")),
    "with a date that is none": header_changed("X-Amz-Date", "now", refusal(BAD, "")),
    "none at all": lambda target: refusal(
        "MissingAuthenticationTokenException", "Missing Authentication Token")(
            talk(target.port, request("/listStreams", {"Host": "x"}, b"{}"))),
    "of one letter": header_changed("Authorization", "A", INCOMPLETE),
    "of 30 kB": header_changed("Authorization", "A" * 30000, INCOMPLETE),
    "Basic": header_changed("Authorization", "Basic YWRtaW46YWRtaW4=", INCOMPLETE),
    "without its signature": header_changed(
        "Authorization", "AWS4-HMAC-SHA256 Credential=A/20200101/r/s/aws4_request, SignedHeaders=host",
        refusal("IncompleteSignatureException", "Authorization header requires 'Signature' parameter.")),
    "of nobody": no_credential(""),
    "of an unknown key": no_credential("AKIAAAAAAAAAAAAAAAAA", UNKNOWN),
    "of SQL": no_credential("' OR '1'='1"),
    "of a long nobody": no_credential("A" * 20000),
})


@attempt("signature: a captured request sent to another operation")
def _(target):
    body = json.dumps({"StreamARN": target.arns["theirs"]}).encode()
    captured = sign(target.administrator, "/describeStream", body)
    target.refuses(request("/deleteStream", captured, body), [403])


@attempt("signature: a captured request with another body")
def _(target):
    captured = sign(target.administrator, "/describeStream", b'{"StreamName":"mine"}')
    target.refuses(request("/describeStream", captured, b'{"StreamName":"theirs"}'), [403])


@attempt("signature: a captured request after its time")
def _(target):
    body = b'{"StreamName":"theirs"}'
    captured = sign(target.administrator, "/describeStream", body, at=-301)
    target.refuses(request("/describeStream", captured, body), [403])


def presigned(keys, at=0, expires=60, change=lambda query: query):
    date = (datetime.datetime.now(datetime.timezone.utc) +
            datetime.timedelta(seconds=at)).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/{kvgtest.REGION}/sts/aws4_request"
    pairs = {"Action": "GetCallerIdentity", "Version": "2011-06-15",
             "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
             "X-Amz-Credential": f"{keys['aws_access_key_id']}/{scope}", "X-Amz-Date": date,
             "X-Amz-Expires": str(expires), "X-Amz-SignedHeaders": "host"}
    query = "&".join(f"{name}={urllib.parse.quote(value, safe='')}"
                     for name, value in sorted(pairs.items()))
    canonical = f"GET\n/\n{query}\nhost:127.0.0.1\n\nhost\n{hashlib.sha256(b'').hexdigest()}"
    text = (f"AWS4-HMAC-SHA256\n{date}\n{scope}\n" +
            hashlib.sha256(canonical.encode()).hexdigest())
    key = b"AWS4" + keys["aws_secret_access_key"].encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    return request("/?" + change(query + "&X-Amz-Signature=" + signature), {"Host": "127.0.0.1"},
                   method="GET")


@attempt("presigned: a good one is accepted, or the rows below say nothing")
def _(target):
    status, _, body = talk(target.port, presigned(target.administrator))
    assert status == 200 and b"user/administrator" in body, (status, body)


def bad_presigned(**how):
    return lambda target: target.refuses(presigned(target.administrator, **how))


table("presigned", {
    "expired": bad_presigned(at=-400, expires=60),
    "not yet": bad_presigned(at=400),
    "for two weeks": bad_presigned(expires=1209600),
    "for no time": bad_presigned(expires=0),
    "made to last": bad_presigned(change=lambda query: query.replace("Expires=60", "Expires=600")),
    "without a signature": bad_presigned(change=lambda query: query.split("&X-Amz-Signature")[0]),
    "for another action": bad_presigned(
        change=lambda query: query.replace("GetCallerIdentity", "AssumeRole")),
    "with a parameter more": bad_presigned(change=lambda query: query + "&Action=AssumeRole"),
})

# ---- tokens


def with_token(change):
    return lambda target: target.call(
        *LIST, keys={**target.thief, "aws_session_token": change(target.thief["aws_session_token"],
                                                                 target)})


def flip(token, _):
    raw_token = bytearray(base64.b64decode(token))
    raw_token[len(raw_token) // 2] ^= 1
    return base64.b64encode(raw_token).decode()


table("token", {
    "a bit flipped": with_token(flip),
    "cut short": with_token(lambda token, _: token[:-8]),
    "empty": with_token(lambda token, _: "=" * 4),
    "no base64": with_token(lambda token, _: "~" * 100),
    "of 20 kB": with_token(lambda token, _: "A" * 20000),
    "of another key": with_token(lambda _, target: target.session("theirs")["aws_session_token"]),
    "beside the administrator's key": lambda target: target.call(
        *LIST, keys=target.administrator, token=target.thief["aws_session_token"]),
    "left out": lambda target: target.call(
        *LIST, keys={key: value for key, value in target.thief.items() if "token" not in key}),
})

# ---- another's stream


def steal(path, **more):
    """With the name, and with the ARN."""
    def run(target):
        for who in ({"StreamName": "theirs"}, {"StreamARN": target.arns["theirs"]},
                    {"StreamName": "mine", "StreamARN": target.arns["theirs"]}):
            if path == "/deleteStream" and "StreamARN" not in who:
                continue
            status, body = target.call(path, {**who, **more}, keys=target.thief)
            assert status in (400, 403, 404), (status, body)
    return run


RANGE = {"FragmentSelectorType": "SERVER_TIMESTAMP",
         "TimestampRange": {"StartTimestamp": 0, "EndTimestamp": 2000000000}}
table("another's stream", {
    "DescribeStream": steal("/describeStream"),
    "GetDataEndpoint": steal("/getDataEndpoint", APIName="GET_MEDIA"),
    "DeleteStream": steal("/deleteStream"),
    "UpdateDataRetention": steal("/updateDataRetention", CurrentVersion="x",
                                 Operation="DECREASE_DATA_RETENTION", DataRetentionChangeInHours=1),
    "TagStream": steal("/tagStream", Tags={"a": "b"}),
    "GetMedia": steal("/getMedia", StartSelector={"StartSelectorType": "EARLIEST"}),
    "ListFragments": steal("/listFragments", FragmentSelector=RANGE),
    "GetHLSStreamingSessionURL": steal("/getHLSStreamingSessionURL"),
    "GetDASHStreamingSessionURL": steal("/getDASHStreamingSessionURL"),
    "GetClip": steal("/getClip", ClipFragmentSelector=RANGE),
})


@attempt("another's stream: PutMedia by name and by ARN")
def _(target):
    for headers in ({}, {"x-amzn-stream-name": None, "x-amzn-stream-arn": target.arns["theirs"]}):
        assert Upload(target.site, "theirs", keys=target.thief, headers=headers).status == 403


@attempt("another's stream: its fragments by number, from one's own")
def _(target):
    body = json.dumps({"StreamName": "mine", "Fragments": [target.theirs]}).encode()
    headers = sign(target.thief, "/getMediaForFragmentList", body)
    status, _, answer = talk(target.port, request("/getMediaForFragmentList", headers, body))
    assert status >= 400 or b"\x1f\x43\xb6\x75" not in answer, (status, answer[:200])


@attempt("another's stream: a playback token of one's own, and its fragment")
def _(target):
    token = target.session_token("mine")
    own = list_fragments(target.site, "mine")[0]["FragmentNumber"]
    path = "/hls/v1/getMP4MediaFragment.mp4?TrackNumber=1&SessionToken={}&FragmentNumber={}"
    status, _, _ = talk(target.port, request(path.format(token, own), {"Host": "x"}, method="GET"))
    assert status == 200, status
    target.refuses(request(path.format(token, target.theirs), {"Host": "x"}, method="GET"))
    for change in (token[:-5] + "~", "A" + token[1:], token[:20], "", token + "A", "A" * 20000):
        target.refuses(request(path.format(change, own), {"Host": "x"}, method="GET"))


@attempt("another's stream: a stream of that name made anew by someone else")
def _(target):
    old = target.site.client("kinesisvideo").create_stream(StreamName="reused")["StreamARN"]
    target.site.client("kinesisvideo").delete_stream(StreamARN=old)
    target.site.client("kinesisvideo").create_stream(StreamName="reused")
    status, _ = target.call("/deleteStream", {"StreamARN": old})
    assert status == 404, status


# ---- documents

table("JSON", {
    "100,000 levels": lambda target: target.refuses(request("/listStreams", sign(
        target.administrator, "/listStreams", b"[" * 50000), b"[" * 50000), [400]),
    "no object": lambda target: target.call("/listStreams", [1]),
    "a key twice": lambda target: target.refuses(request("/describeStream", sign(
        target.administrator, "/describeStream", b'{"StreamName":"a","StreamName":"b"}'),
        b'{"StreamName":"a","StreamName":"b"}'), [400]),
    "a number without end": lambda target: target.refuses(request("/listStreams", sign(
        target.administrator, "/listStreams", b'{"MaxResults":' + b"9" * 30000 + b"}"),
        b'{"MaxResults":' + b"9" * 30000 + b"}"), [400]),
    "no UTF-8": lambda target: target.refuses(request("/listStreams", sign(
        target.administrator, "/listStreams", b'{"NextToken":"\xff\xfe"}'),
        b'{"NextToken":"\xff\xfe"}'), [400]),
    "a NUL in a name": lambda target: target.call("/describeStream", {"StreamName": "a\0b"}),
    "SQL in a name": lambda target: target.call("/describeStream", {"StreamName": "a' OR 1=1 --"}),
    "SQL in a token": lambda target: target.call("/listStreams", {
        "NextToken": "!"}),
})


@attempt("policy: patterns that would take for ever")
def _(target):
    iam = target.site.client("iam")
    user = iam.create_user(UserName="patient")["User"]["UserName"]
    evil = {"Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "*", "Resource": "arn:aws:kinesisvideo:*:*:" + "*a" * 800 + "b"}}
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=json.dumps(evil))
    keys = iam.create_access_key(UserName=user)["AccessKey"]
    began = time.monotonic()
    target.call("/describeStream", {"StreamName": "a" * 256}, keys={
        "aws_access_key_id": keys["AccessKeyId"], "aws_secret_access_key": keys["SecretAccessKey"]})
    assert time.monotonic() - began < 5


@attempt("query API: 100,000 parameters")
def _(target):
    body = b"Action=ListUsers&Version=2010-05-08" + b"&a=b" * 100000
    headers = sign(target.administrator, "/", body, service="iam")
    status, _, _ = talk(target.port, request("/", headers, body))
    assert status in (200, 400), status


# ---- Matroska

def media(data, error):
    """Somebody with the right to upload sends this to a stream of his own."""
    def run(target):
        upload = Upload(target.site, "mine", keys=target.thief)
        upload.send(data())
        upload.finish()
        words = upload.words()
        assert words and words[-1] == error or error is None, words
    return run


def nested(levels):
    data = b""
    for _ in range(levels):
        data = element("7373", data)
    return element("1254c367", data)


table("EBML", {
    "1,000 levels of tags": media(lambda: header() + cluster(now()) + nested(1000), None),
    "a tag of 2^56 bytes": media(
        lambda: header() + cluster(now()) + bytes.fromhex("1254c36701fffffffffffffe") + b"\0" * 9999,
        "4006"),
    "a block of 2^56 bytes": media(
        lambda: header() + unknown("1f43b675") + number("e7", now(), 8) +
        bytes.fromhex("a301fffffffffffffe") + b"\0" * 9999, "4001"),
    "CodecPrivate of 2^56 bytes": media(
        lambda: ebml() + unknown("18538067") + info() +
        bytes.fromhex("1654ae6b01fffffffffffffe" "ae01fffffffffffff0" "63a201ffffffffffff00") +
        b"\0" * 9999, "4006"),
    "a million empty elements": media(
        lambda: header() + unknown("1f43b675") + number("e7", now(), 8) + b"\xec\x80" * 1000000, None),
    "half a million empty blocks": media(
        lambda: header() + unknown("1f43b675") + number("e7", now(), 8) +
        b"\xa3\x84\x81\0\0\0" * 500000, None),
    "a header without end": media(lambda: ebml() + unknown("18538067") +
                                  element("ec", b"\0" * (1 << 20)) * 64, "4006"),
    "an id of eight bytes": media(lambda: header() + b"\x01" * 4096, "4006"),
    "zeroes": media(lambda: b"\0" * (1 << 20), "4006"),
    "noise": media(lambda: hashlib.shake_128(b"kvg").digest(1 << 20), "4006"),
})


# ---- patience

def hangs_up_on(port, data, drip, within, count=50):
    """The server ends connections that send @data and then a byte of @drip now and then."""
    sockets = []
    for _ in range(count):
        one = socket.create_connection(("127.0.0.1", port), timeout=10)
        one.sendall(data)
        sockets.append(one)
    end = time.monotonic() + within
    while sockets and time.monotonic() < end:
        time.sleep(0.5)
        for one in list(sockets):
            try:
                one.sendall(drip)
                one.setblocking(False)
                if one.recv(65536) == b"":
                    raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                one.close()
                sockets.remove(one)
            finally:
                if one in sockets:
                    one.setblocking(True)
    assert not sockets, f"{len(sockets)} of {count} connections still stand after {within} s"


table("slow", {
    "heads": lambda target: hangs_up_on(target.port, b"GET / HTTP/1.1\r\nX: ", b"a", 30),
    "TLS": lambda target: hangs_up_on(target.tls_port, bytes.fromhex("16030100f0"), b"\1", 30),
    "TLS, nothing at all": lambda target: hangs_up_on(target.tls_port, b"", b"", 30),
    "bodies": lambda target: hangs_up_on(
        target.port, b"POST /listStreams HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n", b" ", 60),
})


@attempt("10,000 idle connections")
def _(target):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    count = min(WANTED_IDLE, hard - 1000)
    if count < WANTED_IDLE:
        print(f"# {count} idle connections: the limit of open files is {hard}")
    idle = []
    longest = 0
    try:
        for i in range(count):
            idle.append(socket.create_connection(("127.0.0.1", (target.port, target.tls_port)[i % 2]),
                                                 timeout=30))
            if i % 1000 == 999:
                began = time.monotonic()
                status, _, _ = talk(target.port, GET + b"\r\n", patience=30)
                longest = max(longest, time.monotonic() - began)
                assert status == 200, status
        status, _, _ = talk(target.tls_port, GET + b"\r\n", target.tls, patience=30)
        assert status == 200, status
        print(f"# {count} idle connections: an answer took {longest:.2f} s at most, "
              f"memory {target.memory_mb()} MB")
    finally:
        for one in idle:
            one.close()


@attempt("readers that hold every place they can get")
def _(_):
    site = start(MAX_CONNECTIONS="24")  # 21 of them for readers
    client, keys = site.client("kinesisvideo"), site.administrator()
    for name in "abcdefgh":
        client.create_stream(StreamName=name, DataRetentionInHours=1)

    def live(name):
        body = json.dumps({"StreamName": name, "StartSelector": {"StartSelectorType": "NOW"}}).encode()
        one = socket.create_connection(("127.0.0.1", site.ports["http"]), timeout=15)
        one.sendall(request("/getMedia", sign(keys, "/getMedia", body), body))
        answer = b""
        while b"\r\n\r\n" not in answer:
            part = one.recv(65536)
            assert part, answer
            answer += part
        return one, answer.decode("latin-1")

    readers = [live(name) for name in "abcdefg" * 3]
    try:
        assert all(" 200 " in answer[:15] for _, answer in readers), readers
        for _ in range(2):
            one, answer = live("h")
            one.close()
            assert " 503 " in answer[:15] and "Retry-After: 1" in answer, answer
        camera = Upload(site, "h")
        camera.send(header() + cluster(now() - 5000) + END)
        camera.read_until("PERSISTED")
        camera.finish()
    finally:
        for one, _ in readers:
            one.close()

    def is_read_again():
        one, answer = live("h")
        one.close()
        return " 200 " in answer[:15]
    kvgtest.wait_for("places to be free again", is_read_again)
    assert site.server.stop() == 0


def main():
    target = Target()
    camera = Camera(target.site, "camera")
    camera.start()
    before = target.memory_mb()
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        slow = [item for item in ATTEMPTS if item[0].startswith("slow")]
        quick = [item for item in ATTEMPTS if item not in slow]
        for label, future in [(label, pool.submit(run, target)) for label, run in slow + quick]:
            try:
                future.result()
            except Exception as error:  # a row's failure is not the end of the others
                failed += 1
                print(f"not ok {label}: {type(error).__name__}: {str(error)[:400]}")
    after = target.memory_mb()
    camera.ending.set()
    camera.join(60)
    print(f"# memory {before} MB, then {after} MB; the camera sent {camera.sent} fragments and waited "
          f"{camera.longest:.2f} s at most")
    assert camera.failure is None, camera.failure
    assert camera.sent > 20 and camera.longest < MAX_WAIT_S, (camera.sent, camera.longest)
    kept = {fragment["FragmentNumber"] for fragment in list_fragments(target.site, "camera")}
    assert set(camera.numbers) <= kept, "fragments of the camera are lost"
    assert after - before < MAX_GROWTH_MB, (before, after)
    kvgtest.wait_for("memory to be given back", lambda: target.memory_mb() - before < KEPT_MB)
    print(f"# {target.memory_mb()} MB in the end")
    assert target.site.server.stop() == 0
    with open(target.site.path("server.log"), errors="replace") as log:
        text = log.read()
    assert not any(secret in text for secret in target.secrets[:2]) and "ERROR" not in text
    print(f"{len(ATTEMPTS) - failed} attempts refused, {failed} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
