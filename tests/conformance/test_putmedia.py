"""PutMedia, row by row: what is sent, and what must be said. One row, one assertion. Each row has a
stream of its own; rows run side by side."""
import concurrent.futures
import json
import sys
import threading
import time
import urllib.request

import putmedia
from putmedia import (Upload, block, block_group, cluster, ebml, element, header, info, now, number, tag,
                      track, tracks, unknown)
from test_conformance import kvgtest, start

T = now() - 600000
END = (b"AWS_KINESISVIDEO_END_OF_FRAGMENT", b"")
NAMES = [(b"name%d" % i, b"value") for i in range(11)]
START = {"x-amzn-fragment-timecode-type": "RELATIVE", "x-amzn-producer-start-timestamp": "1700000000.5"}
INVALID = "InvalidArgumentException"

# ---- requests: what is changed in a good one; status, type of error, part of the message (None: 200)
REQUESTS = [
    ("by name", dict(), None),
    ("by ARN", dict(headers={"x-amzn-stream-name": None, "x-amzn-stream-arn": "${arn}"}), None),
    ("neither name nor ARN", dict(headers={"x-amzn-stream-name": None}), (400, INVALID, "")),
    ("name and ARN", dict(headers={"x-amzn-stream-arn": "${arn}"}), (400, INVALID, "")),
    ("no such stream", dict(headers={"x-amzn-stream-name": "none"}),
     (404, "ResourceNotFoundException", "The requested stream is not found or not active.")),
    ("a path for a name", dict(headers={"x-amzn-stream-name": "../../x"}),
     (404, "ResourceNotFoundException", "")),
    ("no timecode type", dict(headers={"x-amzn-fragment-timecode-type": None}), (400, INVALID, "")),
    ("unknown timecode type", dict(headers={"x-amzn-fragment-timecode-type": "absolute"}),
     (400, INVALID, "")),
    ("RELATIVE", dict(headers=START), None),
    ("RELATIVE without a start",
     dict(headers={"x-amzn-fragment-timecode-type": "RELATIVE"}), (400, INVALID, "")),
    ("RELATIVE, whole seconds", dict(headers={**START, "x-amzn-producer-start-timestamp": "1716208496"}),
     None),
    ("RELATIVE, from 0", dict(headers={**START, "x-amzn-producer-start-timestamp": "0"}), None),
    ("RELATIVE, start is no number",
     dict(headers={**START, "x-amzn-producer-start-timestamp": "now"}), (400, INVALID, "")),
    ("RELATIVE, start beyond all time",
     dict(headers={**START, "x-amzn-producer-start-timestamp": "1e300"}), (400, INVALID, "")),
    ("ABSOLUTE, start in milliseconds",
     dict(headers={"x-amzn-producer-start-timestamp": "1716208496005"}), None),
    ("ABSOLUTE, start is no number", dict(headers={"x-amzn-producer-start-timestamp": "x"}), None),
    ("a content type that is none of ours", dict(headers={"Content-Type": "application/json"},
                                                 unsigned=["content-type"]), None),
    ("user agent signed", dict(headers={"User-Agent": "AWS-SDK-KVS/3.0.0 GCC/12.2.0 Linux/6.1.0"}), None),
    ("an expiry in the query, as the Go client has it", dict(query="X-Amz-Expires=600"), None),
    ("Host without its port", dict(headers={"Host": "127.0.0.1"}), None),
    ("session token signed", dict(keys="session"), None),
    ("session token not signed", dict(keys="session", unsigned=["x-amz-security-token"]), None),
    ("session token of another key", dict(keys="swapped"),
     (403, "UnrecognizedClientException", "The security token included in the request is invalid.")),
    ("a role without rights", dict(keys="powerless"), (403, "AccessDeniedException",
                                                       "is not authorized to perform: kinesisvideo:"
                                                       "PutMedia on resource: arn:aws:kinesisvideo:")),
    ("wrong secret", dict(secret="x" * 40), (403, "InvalidSignatureException",
                                             "The request signature we calculated does not match")),
    ("a header changed after signing",
     dict(spoil=lambda head: head.replace("ABSOLUTE", "RELATIVE")),
     (403, "InvalidSignatureException", "")),
    ("another stream's name after signing",
     dict(spoil=lambda head: head.replace("x-amzn-stream-name: ", "x-amzn-stream-name: x")),
     (403, "InvalidSignatureException", "")),
    ("no signature", dict(spoil=lambda head: "\r\n".join(
        line for line in head.split("\r\n") if not line.startswith("Authorization"))),
     (403, "MissingAuthenticationTokenException", "Missing Authentication Token")),
    ("no host signed", dict(unsigned=["host"]), (403, "InvalidSignatureException", "'Host'")),
]

# ---- bodies: what is sent; what is said of it: B buffering, R received, P persisted, and the fragment
BODIES = [
    ("one fragment", header() + cluster(T), "B1 R1 P1"),
    ("two fragments", header() + cluster(T) + cluster(T + 1000), "B1 R1 B2 R2 P1 P2"),
    ("clusters of known size", header() + cluster(T, known_size=True) +
     cluster(T + 1000, known_size=True), "B1 R1 B2 R2 P1 P2"),
    ("a segment of known size", ebml() + element("18538067", info() + tracks() +
                                                 cluster(T, known_size=True)), "B1 R1 P1"),
    ("a one-byte unknown size", header(segment=bytes.fromhex("18538067ff")) + cluster(T), "B1 R1 P1"),
    ("BlockGroups", header() + cluster(T, block_group(), block_group(at=900)), "B1 R1 P1"),
    ("Void, SeekHead, Cues and CRC-32", ebml() + unknown("18538067") + element("114d9b74", b"") +
     element("ec", b"\0" * 99) + info() + tracks() +
     cluster(T, known_size=True, more=element("ec", b"\0" * 9)) + element("1c53bb6b", b""), "B1 R1 P1"),
    ("two tracks", header(track(1), track(2, 2)) + cluster(T, block(1), block(2, 1), block(1, 900)),
     "B1 R1 P1"),
    ("three tracks", header(track(1), track(2, 2), track(3, 2)) +
     cluster(T, block(1), block(2, 1), block(3, 2)), "B1 R1 P1"),
    ("audio first in a fragment", header(track(1), track(2, 2)) + cluster(T, block(2), block(1, 1)),
     "B1 R1 P1"),
    ("a fragment that begins without a key frame", header() + cluster(T, block(key=False)), "B1 R1 P1"),
    ("tags before the first cluster", header() + tag((b"site", b"yard")) + cluster(T), "B1 R1 P1"),
    ("ten tags", header() + cluster(T) + tag(*NAMES[:10]), "B1 R1 P1"),
    ("tag of 128 and 256 bytes", header() + cluster(T) + tag((b"n" * 128, b"v" * 256)), "B1 R1 P1"),
    ("ten tags for each of two", header() + cluster(T) + tag(*NAMES[:10]) + cluster(T + 1000) +
     tag(*NAMES[:10]), "B1 R1 B2 R2 P1 P2"),
    ("a second header between clusters", header() + cluster(T) + header() + cluster(T + 1000),
     "B1 R1 B2 R2 P1 P2"),
    ("20 seconds", header() + cluster(T, block(), block(at=19999)), "B1 R1 P1"),
    ("exactly after the one before", header() + cluster(T) + cluster(T + 901), "B1 R1 B2 R2 P1 P2"),
    ("4001: 50 MB", header() + cluster(T, block(size=26 << 20), block(at=1, size=26 << 20)), "B1 4001"),
    ("4002: 20 seconds and more", header() + cluster(T, block(), block(at=20001)), "B1 4002"),
    ("4004: back in time", header() + cluster(T) + cluster(T - 5000), "B1 R1 B2 4004 P1"),
    ("4004: at the same time", header() + cluster(T) + cluster(T), "B1 R1 B2 4004 P1"),
    ("4004: into the one before", header() + cluster(T) + cluster(T + 900), "B1 R1 B2 4004 P1"),
    ("4006: no Matroska", b"GET / HTTP/1.1\r\n" * 9, "4006"),
    ("4006: nothing", b"", "4006"),
    ("4006: no block at all", header(), "4006"),
    ("4006: a cluster before the tracks", ebml() + unknown("18538067") + info() + cluster(T), "4006"),
    ("4006: no header", cluster(T), "4006"),
    ("4006: an element longer than its parent", header() + element("1f43b675", number("e7", T, 8) + b"\xa3\x10\xff\xff\xff\0"), "B1 4006"),
    ("4006: a block before the timecode", header() + unknown("1f43b675") + block(), "4006"),
    ("4006: a lying size of 2^56 in the header", ebml() + unknown("18538067") +
     bytes.fromhex("1549a96601fffffffffffffe") + b"\0" * 100, "4006"),
    ("4009: eleven tags", header() + cluster(T) + tag(*NAMES), "B1 4009"),
    ("4009: a tag name of 129 bytes", header() + cluster(T) + tag((b"n" * 129, b"v")), "B1 4009"),
    ("4009: a tag value of 257 bytes", header() + cluster(T) + tag((b"n", b"v" * 257)), "B1 4009"),
    ("4010: a track that is not declared", header() + cluster(T, block(), block(2, 1)), "B1 4010"),
    ("4011: a track without a block", header(track(1), track(2, 2)) + cluster(T), "B1 4011"),
    ("4012: four tracks", header(track(1), track(2, 2), track(3, 2), track(4, 2)) + cluster(T), "4012"),
]

LEFT_OUT = {
    "ExpiredTokenException": "a token lives 15 minutes at least; unit test server/auth turns the clock",
    "ConnectionLimitExceededException": "the newest of two calls wins here, the older one may finish",
    "InvalidEndpointException": "one endpoint serves every stream",
    "401 instead of 403": "the real service answers 403",
    "ERROR 4000": "after a read error there is nobody to tell",
    "ERROR 4003": "after 45 minutes",
    "ERROR 4005": "deprecated: several tracks are allowed",
    "ERROR 4007": "an unusable start is refused with HTTP 400 before anything is read",
    "ERROR 4500 to 4506": "KMS keys are not used",
    "ERROR 4507": "known to producers, not seen on the wire: a deleted stream is 4008",
    "ERROR 5000, 5001": "need faults of the server; unit tests of the store fail its disk",
    "MIN_FRAGMENT_DURATION_REACHED": "its number is not known, so short fragments are taken",
}


class Site:
    def __init__(self):
        self.site = start()
        self.client = self.site.client("kinesisvideo")
        self.keys = {"session": self.role("writer", "kinesisvideo:PutMedia"),
                     "powerless": self.role("reader", "kinesisvideo:GetMedia")}
        other = self.role("writer2", "kinesisvideo:PutMedia")
        self.keys["swapped"] = {**self.keys["session"],
                                "aws_session_token": other["aws_session_token"]}

    def role(self, name, action):
        iam, sts = self.site.client("iam"), self.site.client("sts")
        trust = {"Statement": {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}}
        right = {"Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=json.dumps(right))
        keys = sts.assume_role(RoleArn=role["Arn"], RoleSessionName="test")["Credentials"]
        return {"aws_access_key_id": keys["AccessKeyId"],
                "aws_secret_access_key": keys["SecretAccessKey"],
                "aws_session_token": keys["SessionToken"]}

    def stream(self, hours=1):
        self.count = getattr(self, "count", 0) + 1
        name = f"s{self.count}"
        arn = self.client.create_stream(StreamName=name, DataRetentionInHours=hours)["StreamARN"]
        return name, arn

    def fragments(self, name):
        return list_fragments(self.site, name)


def list_fragments(site, name):
    ever = {"StartTimestamp": 0, "EndTimestamp": time.time() + 86400}
    found = site.client("kinesis-video-archived-media").list_fragments(
        StreamName=name, FragmentSelector={"FragmentSelectorType": "PRODUCER_TIMESTAMP",
                                           "TimestampRange": ever})["Fragments"]
    return sorted(found, key=lambda fragment: fragment["FragmentNumber"])


def run_request(site, row, name, arn):
    _, how, expected = row
    how = dict(how)
    if isinstance(how.get("keys"), str):
        how["keys"] = site.keys[how["keys"]]
    if "headers" in how:
        how["headers"] = {key: arn if value == "${arn}" else value
                          for key, value in how["headers"].items()}
    upload = Upload(site.site, name, **how)
    if expected is None:
        assert upload.status == 200, upload.error()
        return
    status, kind, body = upload.error()
    key = "Message" if kind in ("AccessDeniedException", INVALID, "ResourceNotFoundException") \
        else "message"
    assert (status, kind) == expected[:2] and expected[2] in body[key], (status, kind, body)


def run_body(site, row, name, arn):
    upload = Upload(site.site, name)
    upload.send(row[1])
    upload.finish()
    said = upload.words()
    # A fragment is on disk some time after it was received, beside all that is said of later ones.
    persisted = [word for word in said if word[0] == "P"]
    rest = [word for word in said if word[0] != "P"]
    wanted = row[2].split()
    assert rest == [word for word in wanted if word[0] != "P"] and \
        persisted == [word for word in wanted if word[0] == "P"], said


# ---- what is not a matter of one body

BEHAVIOUR = []


def behaviour(label, hours=1):
    def keep(function):
        BEHAVIOUR.append((label, function, hours))
        return function
    return keep


@behaviour("200 comes before any of the body")
def _(site, name, arn):
    assert Upload(site.site, name).status == 200


@behaviour("the head of the answer")
def _(site, name, arn):
    got = Upload(site.site, name).headers
    assert got["content-type"] == "application/json" and got["transfer-encoding"] == "chunked" and \
        got["x-amzn-requestid"] and got["date"], got


@behaviour("no word before the first byte of media")
def _(site, name, arn):
    assert Upload(site.site, name).is_silent(1)


@behaviour("Expect: 100, then 200 in a write of its own")
def _(site, name, arn):
    # On a busy machine both may have come before this client looks; it needs to see them apart once.
    for attempt in range(20):
        upload = Upload(site.site, name, headers={"Expect": "100-continue"}, wait_for_status=False)
        first = upload.socket.recv(65536)
        assert first.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"), first
        if first == b"HTTP/1.1 100 Continue\r\n\r\n":
            break
        upload.socket.close()
    else:
        raise AssertionError(first)
    upload.read_head()
    assert upload.status == 200


@behaviour("Expect: a refusal comes instead of 100")
def _(site, name, arn):
    assert Upload(site.site, "none", headers={"Expect": "100-continue"}).status == 404


@behaviour("acknowledgements: one whole JSON object, one newline and at most 1024 bytes a chunk")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + b"".join(cluster(T + 1000 * i) for i in range(5)))
    upload.finish()
    assert len(upload.chunks) == 15 and all(
        len(chunk) <= 1024 and chunk.endswith(b"}\n") and chunk.count(b"\n") == 1
        for chunk in upload.chunks), upload.chunks


@behaviour("acknowledgements: types of the values")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + cluster(T))
    upload.finish()
    wanted = {"EventType": str, "FragmentTimecode": int, "FragmentNumber": str, "ErrorId": int,
              "ErrorCode": str}
    assert all(type(value) is wanted[key] for ack in upload.acks for key, value in ack.items()) and \
        {key for ack in upload.acks for key in ack} == set(wanted), upload.acks


@behaviour("acknowledgements: the timecode as it was sent", hours=1)
def _(site, name, arn):
    upload = Upload(site.site, name, headers=START)
    upload.send(header() + cluster(12345))
    upload.finish()
    assert {ack["FragmentTimecode"] for ack in upload.acks} == {12345}, upload.acks


@behaviour("acknowledgements: name of the error")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(b"x" * 100)
    upload.finish()
    assert upload.acks[-1]["ErrorCode"] == "INVALID_MKV_DATA", upload.acks


@behaviour("acknowledgements: none if not wanted")
def _(site, name, arn):
    upload = Upload(site.site, name, headers={"x-amzn-fragment-acknowledgment-required": "0"})
    upload.send(header() + cluster(T))
    upload.finish()
    assert upload.acks == [] and len(site.fragments(name)) == 1, upload.acks


@behaviour("no retention: RECEIVED is the last word", hours=0)
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + cluster(T + 1000))
    upload.finish()
    assert upload.words() == ["B1", "R1", "B2", "R2"], upload.words()


@behaviour("BUFFERING comes with the first byte of a fragment")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + unknown("1f43b675") + number("e7", T, 8))
    assert upload.read_ack()["EventType"] == "BUFFERING"


@behaviour("RECEIVED waits for the next cluster")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T))
    upload.read_until("BUFFERING")
    assert upload.is_silent(1)


@behaviour("END_OF_FRAGMENT: no waiting")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + tag(END))
    assert upload.read_until("PERSISTED")["FragmentTimecode"] == T


@behaviour("END_OF_FRAGMENT and on")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + tag(END) + cluster(T + 1000) + tag(END))
    upload.finish()
    assert sorted(upload.words()) == sorted("B1 R1 P1 B2 R2 P2".split()), upload.words()


@behaviour("after an error the answer ends, and with it the connection")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + cluster(T))
    while upload.read_ack() is not None:
        pass
    assert upload.ended is True and upload.socket.recv(1) == b"", upload.ended


@behaviour("cut anywhere: byte by byte, a chunk each")
def _(site, name, arn):
    upload = Upload(site.site, name)
    data = header() + cluster(T) + cluster(T + 1000)
    upload.socket.sendall(b"".join(b"1\r\n" + data[i:i + 1] + b"\r\n" for i in range(len(data))))
    upload.finish()
    assert [word for word in upload.words() if word[0] != "P"] == "B1 R1 B2 R2".split(), upload.words()


@behaviour("numbers: 47 digits, growing, within a session and across")
def _(site, name, arn):
    numbers = []
    for i in range(3):
        upload = Upload(site.site, name)
        upload.send(header() + cluster(T + 10000 * i) + cluster(T + 10000 * i + 1000))
        upload.finish()
        numbers += [ack["FragmentNumber"] for ack in upload.acks if ack["EventType"] == "BUFFERING"]
    assert numbers == sorted(set(numbers)) and all(
        len(text) == 47 and text.isdigit() for text in numbers), numbers


@behaviour("ABSOLUTE: the producer's time is the cluster's")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T))
    upload.finish()
    assert round(site.fragments(name)[0]["ProducerTimestamp"].timestamp() * 1000) == T


@behaviour("RELATIVE: the producer's time is the start and the cluster's")
def _(site, name, arn):
    upload = Upload(site.site, name, headers=START)
    upload.send(header() + cluster(250))
    upload.finish()
    assert site.fragments(name)[0]["ProducerTimestamp"].timestamp() == 1700000000.75


@behaviour("the server's time is when the fragment began to arrive")
def _(site, name, arn):
    before = now()
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T))
    upload.finish()
    assert before <= round(site.fragments(name)[0]["ServerTimestamp"].timestamp() * 1000) <= now()


@behaviour("the same fragment again in a later session is another fragment")
def _(site, name, arn):
    for _ in range(2):
        upload = Upload(site.site, name)
        upload.send(header() + cluster(T))
        upload.finish()
    assert len(site.fragments(name)) == 2


@behaviour("a connection that breaks: what was begun is not kept, what was complete is")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + cluster(T + 1000))
    upload.read_until("PERSISTED")
    upload.reset()
    time.sleep(0.5)
    assert [round(fragment["ProducerTimestamp"].timestamp() * 1000)
            for fragment in site.fragments(name)] == [T]


@behaviour("two calls overlap while tokens rotate")
def _(site, name, arn):
    old = Upload(site.site, name)
    old.send(header() + cluster(T))
    new = Upload(site.site, name)
    new.send(header() + cluster(T + 5000) + tag(END))
    new.read_until("PERSISTED")
    old.send(tag(END))
    assert old.read_until("PERSISTED")["FragmentTimecode"] == T


@behaviour("4008: the stream is deleted meanwhile")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T))
    upload.read_until("BUFFERING")
    site.client.delete_stream(StreamARN=arn)
    upload.send(cluster(T + 1000))
    assert upload.read_until("ERROR")["ErrorId"] == 4008


@behaviour("silence: IDLE, and after half a minute the end")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T))
    began = time.monotonic()
    while upload.read_ack() is not None:
        pass
    took = time.monotonic() - began
    idle = [ack for ack in upload.acks if ack == {"EventType": "IDLE"}]
    assert len(idle) >= 3 and 25 < took < 50 and upload.ended is True, (took, upload.acks)


@behaviour("a graceful stop of the server: what was received is persisted, and said so")
def _(site, name, arn):
    other = start()
    other.client("kinesisvideo").create_stream(StreamName="s", DataRetentionInHours=1)
    upload = Upload(other, "s")
    upload.send(header() + b"".join(cluster(T + 1000 * i) for i in range(20)))
    upload.read_until("BUFFERING")
    status = other.server.stop()
    while upload.read_ack() is not None:
        pass
    received = {ack["FragmentNumber"] for ack in upload.acks if ack["EventType"] == "RECEIVED"}
    persisted = {ack["FragmentNumber"] for ack in upload.acks if ack["EventType"] == "PERSISTED"}
    other.start_server()
    kept = {fragment["FragmentNumber"] for fragment in list_fragments(other, "s")}
    other.server.stop()
    assert status == 0 and upload.ended is True and received and received == persisted == kept, (
        status, upload.ended, len(received), len(persisted), len(kept))


@behaviour("six calls in a second, where rates are enforced")
def _(site, name, arn):
    other = start(CALL_RATES="1")
    other.client("kinesisvideo").create_stream(StreamName="s", DataRetentionInHours=1)
    uploads = [Upload(other, "s") for _ in range(12)]
    refused = [upload.error() for upload in uploads if upload.status != 200]
    for upload in uploads:
        upload.reset()
    other.server.stop()
    assert refused and refused[0] == (400, "ClientLimitExceededException", {
        "Message": "Limit exceeded on number of requests for PutMedia API for resource 's'"}), refused


def hurries(label, pieces, least_s):
    """What comes faster than the quotas is read slowly, all of it, and holds up no other stream."""
    @behaviour(label)
    def _(site, name, arn):
        other = start(CALL_RATES="1")
        for stream in ("s", "beside"):
            other.client("kinesisvideo").create_stream(StreamName=stream, DataRetentionInHours=1)
        upload = Upload(other, "s")
        began = time.monotonic()
        sender = threading.Thread(target=upload.send, args=(header() + b"".join(pieces),))
        sender.start()
        beside = Upload(other, "beside")
        beside.send(header() + cluster(T) + cluster(T + 1000))
        beside.finish()
        sender.join()
        upload.finish()
        took = time.monotonic() - began
        kept = list_fragments(other, "s")
        other.server.stop()
        assert beside.words().count("P2") == 1 and len(kept) == len(pieces), (beside.words(), len(kept))
        assert took >= least_s, took


# A second's worth may come at once.
hurries("more than 5 fragments a second", [cluster(T + 1000 * i) for i in range(16)], 2)
hurries("more than 12.5 MB a second",
        [cluster(T + 1000 * i, block(size=20000000)) for i in range(2)], 2)


@behaviour("metrics under the service's own names")
def _(site, name, arn):
    upload = Upload(site.site, name)
    upload.send(header() + cluster(T) + cluster(T + 1000))
    upload.finish()
    with urllib.request.urlopen(f"http://127.0.0.1:{site.site.ports['http']}/metrics") as reply:
        lines = reply.read().decode().split("\n")
    found = {line.split("{")[0]: float(line.split()[1]) for line in lines
             if f'StreamName="{name}"' in line}
    assert found["PutMedia_IncomingFragments"] == 2 and found["PutMedia_Requests"] == 1 and \
        found["PutMedia_Success"] == 2 and found["PutMedia_ActiveConnections"] == 0 and \
        found["PutMedia_IncomingBytes"] > 100 and \
        found["PutMedia_FragmentPersistLatency_count"] == 2, found


def main():
    site = Site()
    jobs = [(row[0], lambda row=row: run_request(site, row, *site.stream())) for row in REQUESTS]
    jobs += [(row[0], lambda row=row: run_body(site, row, *site.stream())) for row in BODIES]
    slow_first = sorted(BEHAVIOUR, key=lambda item: not item[0].startswith("silence"))
    jobs = [(label, lambda run=run, hours=hours: run(site, *site.stream(hours)))
            for label, run, hours in slow_first] + jobs
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        for label, future in [(label, pool.submit(job)) for label, job in jobs]:
            try:
                future.result()
            except Exception as error:  # a row's failure is not the end of the others
                failed += 1
                print(f"not ok {label}: {type(error).__name__}: {error}")
    for what, why in LEFT_OUT.items():
        print(f"# left out, {what}: {why}")
    assert site.site.server.stop() == 0
    print(f"{len(jobs) - failed} rows passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
