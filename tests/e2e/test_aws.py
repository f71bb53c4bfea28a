"""AWS's own SDK and CLI, unmodified, against kvg-server; an outside player; and what one camera may
not do to another."""
import json
import os
import subprocess

import botocore.exceptions
import kvgtest

site = kvgtest.Site()
site.start_all(cameras=2)
first, second = site.names


def aws(*arguments):
    done = subprocess.run(["/usr/bin/aws", *arguments, "--endpoint-url", site.endpoint, "--output",
                           "json"], capture_output=True, text=True, env=site.environment, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(call, code, **arguments):
    """The call must be refused with HTTP 403 and the error @code."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403, error.response
        assert error.response["Error"]["Code"] == code, error.response
        assert "is not authorized to perform" in error.response["Error"]["Message"], error.response
    else:
        raise AssertionError(f"not refused: {call}")


# ---- the CLI
listed = {stream["StreamName"] for stream in aws("kinesisvideo", "list-streams")["StreamInfoList"]}
assert listed == set(site.names), listed
described = aws("kinesisvideo", "describe-stream", "--stream-name", first)["StreamInfo"]
assert described["Status"] == "ACTIVE" and described["DataRetentionInHours"] == 24, described
cli_url = aws("kinesis-video-archived-media", "get-hls-streaming-session-url", "--stream-name", first,
              "--playback-mode", "LIVE")["HLSStreamingSessionURL"]

# ---- boto3
kvs = site.client("kinesisvideo")
assert {s["StreamName"] for s in kvs.list_streams()["StreamInfoList"]} == set(site.names)
info = kvs.describe_stream(StreamName=second)["StreamInfo"]
endpoint = kvs.get_data_endpoint(StreamARN=info["StreamARN"], APIName="PUT_MEDIA")["DataEndpoint"]
assert endpoint.startswith("https://"), endpoint
media = site.client("kinesis-video-archived-media")
boto_url = media.get_hls_streaming_session_url(StreamARN=info["StreamARN"],
                                               PlaybackMode="LIVE")["HLSStreamingSessionURL"]
try:
    kvs.describe_stream(StreamName="nobody")
    raise AssertionError("a stream that does not exist was described")
except kvs.exceptions.ResourceNotFoundException:
    pass
assert site.client("sts").get_caller_identity()["Account"] == "123456789012"

# ---- an outside player: the right codec and size, and nothing to complain about
for url in (cli_url, boto_url):
    probe = subprocess.run(
        ["ffprobe", "-v", "error", "-ca_file", site.path("server/ca.pem"), "-tls_verify", "1",
         "-read_intervals", "%+4", "-show_entries", "stream=codec_name,width,height:packet=pts_time,dts_time",
         "-of", "json", url], capture_output=True, text=True, timeout=120)
    assert probe.returncode == 0 and probe.stderr == "", probe.stderr
    result = json.loads(probe.stdout)
    stream = result["streams"][0]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 320, 176), stream
    times = [float(packet["dts_time"]) for packet in result["packets"]]
    assert len(times) > 5 and times == sorted(set(times)), times

# ---- a whole recording through a second reader
player = subprocess.run(
    ["ffmpeg", "-v", "error", "-ca_file", site.path("server/ca.pem"), "-i",
     site.kvg("play", first, "--on-demand", "-c", site.path("kvg.yaml")).stdout.strip(),
     "-f", "null", "-"], capture_output=True, text=True, timeout=120)
assert player.returncode == 0 and player.stderr == "", player.stderr

# ---- one camera's temporary credentials and the other's stream
status, answer = site.camera_keys(first)
assert status == 200, answer
keys = answer["credentials"]
own = {"aws_access_key_id": keys["accessKeyId"], "aws_secret_access_key": keys["secretAccessKey"],
       "aws_session_token": keys["sessionToken"]}
camera = site.client("kinesisvideo", **own)
assert camera.describe_stream(StreamName=first)["StreamInfo"]["StreamName"] == first
camera.get_data_endpoint(StreamName=first, APIName="PUT_MEDIA")
refused(camera.describe_stream, "AccessDeniedException", StreamName=second)
refused(camera.get_data_endpoint, "AccessDeniedException", StreamName=second, APIName="PUT_MEDIA")
refused(camera.delete_stream, "AccessDeniedException", StreamARN=info["StreamARN"])
refused(camera.create_stream, "AccessDeniedException", StreamName="a-third-one")
refused(site.client("kinesis-video-archived-media", **own).get_hls_streaming_session_url,
        "AccessDeniedException", StreamName=second, PlaybackMode="LIVE")

# PutMedia itself, too: refused before any video is read.
upload = kvgtest.PutMedia(site, second, keys=own)
assert upload.closed.wait(30) and upload.status == 403, upload.status
upload.close()

# ---- certificates that must not open the door: the messages of the real provider
def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


stranger = site.path("stranger")
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={first}", "-keyout", stranger + ".private.key", "-out", stranger + ".cert.pem")
assert site.camera_keys(first, certificate=stranger) == (
    403, {"message": "Certificate is invalid on this endpoint"})
assert site.camera_keys(first, thing=second) == (403, {"message": "Invalid thing name passed"})
assert site.camera_keys(first, thing="nobody") == (403, {"message": "Invalid thing name passed"})

iot = site.client("iot")
with open(site.path("certs/provision.json")) as file:
    certificate = json.load(file)["cameras"][second]["certificate_id"]
iot.update_certificate(certificateId=certificate, newStatus="INACTIVE")
status, answer = site.camera_keys(second)
assert status == 403 and "message" in answer, (status, answer)
iot.update_certificate(certificateId=certificate, newStatus="ACTIVE")
assert site.camera_keys(second)[0] == 200

# ---- provisioning again changes nothing
with open(site.path("certs/provision.json")) as file:
    before = file.read()
again = site.provision()
assert "(new)" not in again.stderr, again.stderr
with open(site.path("certs/provision.json")) as file:
    assert file.read() == before
for name in os.listdir(site.path("certs")):
    mode = os.stat(site.path("certs/" + name)).st_mode & 0o777
    assert mode == 0o600, (name, oct(mode))
assert os.stat(site.path("server/credentials")).st_mode & 0o777 == 0o600

# ---- no secret in any log
site.agent.stop()
secrets = [site.administrator()["aws_secret_access_key"], keys["secretAccessKey"], "p$ss word"]
for name in os.listdir(site.folder):
    if name.endswith(".log"):
        with open(site.path(name), errors="replace") as log:
            text = log.read()
        assert not any(secret in text for secret in secrets), name
