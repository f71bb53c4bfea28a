"""Pipelines as AWS documents them for kvssink, with only the endpoint changed, and input as cameras and
files really are: what the server stored, read by ffprobe, is what the source delivered."""
import concurrent.futures
import datetime
import json
import os
import re
import shlex
import shutil
import subprocess
import time

import kvgtest

site = kvgtest.Site()
site.start_server()
site.start_cameras(1)
site.write_config()
site.provision()
KEYS = site.administrator()
SECRET = KEYS["aws_secret_access_key"]
START = 1600000000

ENVIRONMENT = kvgtest.clean_environment(
    GST_PLUGIN_PATH=os.path.join(kvgtest.BUILD, "gst"), GST_REGISTRY=site.path("registry.bin"),
    CONTROL_PLANE_URI=site.endpoint, KVSSINK_CA_CERT_PATH=site.path("server/ca.pem"),
    AWS_DEFAULT_REGION=kvgtest.REGION, AWS_EC2_METADATA_DISABLED="true", HOME=site.folder,
    XDG_STATE_HOME=site.path("state"))
WITH_KEYS = dict(ENVIRONMENT, AWS_ACCESS_KEY_ID=KEYS["aws_access_key_id"], AWS_SECRET_ACCESS_KEY=SECRET)


def launch(pipeline, environment=WITH_KEYS, stop_after_s=None, check=True, debug="", source=None):
    """Runs gst-launch-1.0 to the end of stream; its output."""
    command = ["gst-launch-1.0", "-e", "-m"] + shlex.split(pipeline)
    if stop_after_s is not None:
        command = ["timeout", "-s", "INT", str(stop_after_s)] + command
    done = subprocess.run(command, env=dict(environment, GST_DEBUG=debug), text=source is None,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180, stdin=source)
    output = done.stdout if source is None else done.stdout.decode(errors="replace")
    ok = (0, 124) if stop_after_s is not None else (0,)
    assert not check or done.returncode in ok, f"{pipeline}: {done.returncode}\n{output[-3000:]}"
    return output


def probe(path):
    """(streams, packets): each packet (video or audio, time in ms, hash)."""
    done = subprocess.run(["ffprobe", "-v", "error", "-show_streams", "-show_packets", "-show_data_hash",
                           "md5", "-of", "json", path], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    packets = [(packet["codec_type"], round(1000 * float(packet.get("pts_time", "nan"))) if "pts_time"
                in packet else None, packet["data_hash"]) for packet in found["packets"]]
    return found["streams"], packets


class Stored:
    """What the server has of a stream, fragment by fragment."""

    def __init__(self, name):
        import boto3
        endpoint = site.client("kinesisvideo").get_data_endpoint(
            StreamName=name, APIName="LIST_FRAGMENTS")["DataEndpoint"]
        client = boto3.session.Session(**KEYS, region_name=kvgtest.REGION).client(
            "kinesis-video-archived-media", endpoint_url=endpoint, verify=site.path("server/ca.pem"))
        ever = {"StartTimestamp": datetime.datetime.fromtimestamp(1000),
                "EndTimestamp": datetime.datetime.fromtimestamp(4e9)}
        fragments = client.list_fragments(
            StreamName=name, MaxResults=1000, FragmentSelector={
                "FragmentSelectorType": "PRODUCER_TIMESTAMP", "TimestampRange": ever})["Fragments"]
        fragments.sort(key=lambda fragment: int(fragment["FragmentNumber"]))
        self.lengths_ms = [fragment["FragmentLengthInMilliseconds"] for fragment in fragments]
        self.packets, self.streams, self.bytes = [], [], []
        for fragment in fragments:
            media = client.get_media_for_fragment_list(
                StreamName=name, Fragments=[fragment["FragmentNumber"]])["Payload"].read()
            path = site.path(f"{name}.read.mkv")
            with open(path, "wb") as out:
                out.write(media)
            streams, packets = probe(path)
            self.streams.append([(s["codec_name"], s.get("width"), s.get("height")) for s in streams])
            # Each described track is in each fragment.
            assert {s["codec_type"] for s in streams} == {kind for kind, _, _ in packets}, (name, streams)
            self.packets += packets
            self.bytes.append(media)

    def hashes(self, kind="video"):
        return [packet[2] for packet in self.packets if packet[0] == kind]

    def times(self, kind="video"):
        return [packet[1] for packet in self.packets if packet[0] == kind]


def assert_same(name, path, kind="video", stored=None):
    stored = stored or Stored(name)
    expected = [packet[2] for packet in probe(site.path(path))[1] if packet[0] == kind]
    assert len(expected) > 0 and stored.hashes(kind) == expected, \
        f"{name}: {len(stored.hashes(kind))} of {len(expected)} {kind} frames are the same"
    return stored


def make(path, pipeline):
    launch(f"{pipeline} ! filesink location={site.path(path)}")


PICTURE = "videotestsrc num-buffers={n} ! video/x-raw,width={w},height={h},framerate=25/1 ! "
X264 = "x264enc threads=1 speed-preset=ultrafast key-int-max={gop} bframes={b} ! h264parse"
AVC = "video/x-h264,stream-format=avc,alignment=au"
SOUND = "audiotestsrc num-buffers={n} samplesperbuffer=1024 ! audio/x-raw,rate=44100,channels=1"


def picture(n=100, w=320, h=176, gop=25, b=0):
    return PICTURE.format(n=n, w=w, h=h) + X264.format(gop=gop, b=b)


def tee(name, path, properties=""):
    """Into the sink, and beside it into a file."""
    return (f"tee name=t t. ! queue max-size-time=0 max-size-bytes=0 ! kvssink stream-name={name} {properties} "
            f"t. ! queue max-size-time=0 max-size-bytes=0 ! matroskamux ! filesink location={site.path(path)}")


def media_type(name):
    return site.client("kinesisvideo").describe_stream(StreamName=name)["StreamInfo"]["MediaType"]


# ---- AWS's documented pipelines


def test_source():
    launch("videotestsrc is-live=true num-buffers=75 ! videoconvert ! "
           "video/x-raw,format=I420,width=320,height=240,framerate=25/1 ! x264enc bframes=0 key-int-max=25 "
           "bitrate=500 tune=zerolatency ! video/x-h264,stream-format=avc,alignment=au,profile=baseline ! "
           + tee("test-source", "test-source.mkv", "storage-size=128"))
    stored = assert_same("test-source", "test-source.mkv")
    assert abs(stored.times()[0] / 1000 - time.time()) < 60


def rtsp(depay, name):
    def run():
        camera = site.cameras.ready["cameras"][0]
        with open(site.path("camera-password")) as file:
            password = file.read()
        launch(f"rtspsrc location={camera['url']} user-id=viewer user-pw='{password}' short-header=TRUE ! "
               f"{depay} ! kvssink stream-name={name} storage-size=512 "
               f"access-key={KEYS['aws_access_key_id']} secret-key={SECRET} aws-region=us-east-1",
               environment=ENVIRONMENT, stop_after_s=7)
        stored = Stored(name)
        times = stored.times()
        assert len(times) >= 25 and stored.streams[0] == [("h264", 320, 176)], (times, stored.streams)
        steps = [b - a for a, b in zip(times, times[1:])]
        assert 0 < min(steps) and max(steps) < 1000, steps
    run.__name__ = name
    return run


def test_files():
    for path, mux in (("f.mp4", "mp4mux"), ("f.mkv", "matroskamux"), ("f.ts", "mpegtsmux")):
        make(path, picture(b=2) + " ! " + mux)
    for path, demux in (("f.mp4", "qtdemux"), ("f.mkv", "matroskademux")):
        name = "file-" + demux
        launch(f"filesrc location={site.path(path)} ! {demux} ! h264parse ! {AVC} ! kvssink stream-name={name} "
               f"streaming-type=offline file-start-time={START}")
        stored = assert_same(name, path)
        first = probe(site.path(path))[1]
        assert [t - START * 1000 for t in stored.times()] == [t - first[0][1] + stored.times()[0] - START * 1000
                                                             for _, t, _ in first]
        assert stored.times()[0] // 1000 == START
    launch(f"filesrc location={site.path('f.ts')} ! tsdemux ! h264parse ! {AVC} ! "
           + tee("file-ts", "ts.mkv", "streaming-type=offline"))
    assert len(assert_same("file-ts", "ts.mkv").times()) == 100


def test_sound_and_picture():
    make("av.mp4", f"mp4mux name=m {picture()} ! m. {SOUND.format(n=172)} ! avenc_aac ! queue ! m. m.")
    launch(f"filesrc location={site.path('av.mp4')} ! qtdemux name=demux demux. ! queue ! h264parse ! {AVC} ! "
           "kvssink name=sink stream-name=av-file streaming-type=offline demux. ! queue ! aacparse ! sink.")
    stored = assert_same("av-file", "av.mp4")
    assert_same("av-file", "av.mp4", "audio", stored)
    assert stored.streams == [[("h264", 320, 176), ("aac", None, None)]] * 4, stored.streams
    assert media_type("av-file") == "video/h264,audio/aac", media_type("av-file")


def test_live_sound_and_picture():
    # An encoder that looks ahead for seconds beside one that does not.
    launch("videotestsrc is-live=true num-buffers=100 ! video/x-raw,width=320,height=176,framerate=25/1 ! "
           f"x264enc key-int-max=25 speed-preset=ultrafast rc-lookahead=40 ! {AVC} ! kvssink name=sink "
           "stream-name=av-live audiotestsrc is-live=true samplesperbuffer=1024 num-buffers=172 ! "
           "audioconvert ! audioresample ! avenc_aac ! queue ! sink.")
    stored = Stored("av-live")
    assert len(stored.hashes()) == 100, len(stored.hashes())
    # Sound before the first picture is left out; from there on none is missing.
    video, audio = stored.times(), stored.times("audio")
    steps = [b - a for a, b in zip(audio, audio[1:])]
    assert len(audio) >= 100 and min(steps) >= 18 and max(steps) <= 28, (len(audio), min(steps), max(steps))
    assert abs(min(video) - min(audio)) < 500 and abs(max(video) - max(audio)) < 500


def test_iot():
    camera = site.names[0]
    certificate = site.path("certs/" + camera)
    launch(picture() + f" ! {AVC} ! kvssink stream-name={camera} aws-region=us-east-1 "
           f"iot-certificate=\"iot-certificate,endpoint=127.0.0.1:{site.ports['mtls']},"
           f"cert-path={certificate}.cert.pem,key-path={certificate}.private.key,"
           f"ca-path={site.path('server/ca.pem')},role-aliases=KvgCamera\"", environment=ENVIRONMENT)
    assert len(Stored(camera).hashes()) == 100
    output = launch(picture(10) + f" ! {AVC} ! kvssink stream-name={camera} "
                    f"iot-certificate=\"iot-certificate,endpoint=127.0.0.1:{site.ports['mtls']},"
                    f"cert-path=/nowhere/a.pem,key-path={certificate}.private.key,"
                    f"ca-path={site.path('server/ca.pem')},role-aliases=KvgCamera\"", environment=ENVIRONMENT)
    assert "/nowhere/a.pem" in output, output


def test_credential_file():
    path = site.path("credential")
    folder = site.path("authorities")
    os.mkdir(folder)
    shutil.copy(site.path("server/ca.pem"), folder)
    subprocess.run(["openssl", "rehash", folder], check=True, stdout=subprocess.DEVNULL)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write(f"CREDENTIALS {KEYS['aws_access_key_id']} {SECRET}\n")
    output = launch(picture() + f" ! {AVC} ! kvssink stream-name=by-file credential-path={path}",
                    environment=dict(ENVIRONMENT, KVSSINK_CA_CERT_PATH=folder), debug="kvssink:5")
    # What the signal fragment-ack carries.
    assert len(re.findall("PERSISTED of [0-9]{47} at [0-9]{13}", output)) == 4, output
    assert len(Stored("by-file").hashes()) == 100


def test_intermittent():
    make("i.h264", picture(n=60, gop=20) + " ! video/x-h264,stream-format=byte-stream")
    with open(site.path("i.h264"), "rb") as file:
        data = file.read()
    read, write = os.pipe()

    def feed():
        with os.fdopen(write, "wb") as out:
            third = len(data) // 3
            for part in (data[:third], data[third:2 * third], data[2 * third:]):
                out.write(part)
                out.flush()
                time.sleep(4)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, os.fdopen(read, "rb") as source:
        feeding = pool.submit(feed)
        launch("fdsrc do-timestamp=true ! h264parse ! kvssink stream-name=intermittent", source=source)
        feeding.result()
    assert len(Stored("intermittent").hashes()) == 60


# ---- input as it is


def test_h265():
    for name, form in (("hvc1", "stream-format=hvc1,"), ("h265-any", "")):
        source = (PICTURE.format(n=100, w=320, h=176) + "x265enc key-int-max=25 speed-preset=ultrafast ! "
                  f"h265parse ! video/x-h265,{form}alignment=au ! ")
        if form:
            launch(source + tee(name, "hvc1.mkv"))
            stored = assert_same(name, "hvc1.mkv")
        else:
            launch(source + f"kvssink stream-name={name}")
            stored = Stored(name)
            assert len(stored.hashes()) == 100
            # Start codes went in; what is stored can be decoded by whoever reads lengths.
            decoded = subprocess.run(["ffmpeg", "-v", "error", "-i", "-", "-f", "framemd5", "-"],
                                     input=stored.bytes[0], capture_output=True, check=True)
            assert decoded.stderr == b"" and decoded.stdout.count(b"\n0,") >= 15
        assert set(map(tuple, stored.streams)) == {(("hevc", 320, 176),)}
        assert media_type(name) == "video/h265", media_type(name)


def decoded(data):
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", "-", "-f", "framemd5", "-"], input=data,
                          capture_output=True, check=True)
    assert done.stderr == b"", done.stderr
    return re.findall(rb"^0,.* ([0-9a-f]{32})$", done.stdout, re.M)


def test_byte_stream():
    make("b.mkv", picture() + " ! matroskamux")
    launch(f"filesrc location={site.path('b.mkv')} ! matroskademux ! h264parse ! "
           "video/x-h264,stream-format=byte-stream,alignment=au ! kvssink stream-name=byte-stream")
    with open(site.path("b.mkv"), "rb") as file:
        expected = decoded(file.read())
    assert sum((decoded(fragment) for fragment in Stored("byte-stream").bytes), []) == expected


def test_resolution_changes_twice():
    sizes = [(320, 176), (640, 352), (160, 96)]
    for i, (w, h) in enumerate(sizes):
        make(f"r{i}.mkv", picture(n=50, w=w, h=h) + " ! matroskamux")
    parts = " ".join(f"filesrc location={site.path(f'r{i}.mkv')} ! matroskademux ! h264parse ! c."
                     for i in range(3))
    launch(f"concat name=c ! {AVC} ! kvssink stream-name=resolution {parts}")
    stored = Stored("resolution")
    expected = sum(([packet[2] for packet in probe(site.path(f"r{i}.mkv"))[1]] for i in range(3)), [])
    assert stored.hashes() == expected
    assert stored.streams == [[("h264", w, h)] for w, h in sizes for _ in range(2)], stored.streams
    assert stored.times() == sorted(stored.times())


def test_gops():
    launch(picture(n=1000, gop=100000) + f" ! {AVC} ! " + tee("long-gop", "long-gop.mkv"))
    stored = assert_same("long-gop", "long-gop.mkv")
    assert max(stored.lengths_ms) <= 20000, stored.lengths_ms
    launch(picture(gop=1) + f" ! {AVC} ! " + tee("i-frames", "i-frames.mkv"))
    stored = assert_same("i-frames", "i-frames.mkv")
    assert len(stored.lengths_ms) <= 20, stored.lengths_ms


def test_sound_alone():
    launch(SOUND.format(n=200).replace("44100", "8000").replace("1024", "160") + " ! alawenc ! "
           + tee("sound", "sound.mkv"))
    assert_same("sound", "sound.mkv", "audio")


def test_sound_stops():
    launch("videotestsrc is-live=true num-buffers=250 ! video/x-raw,width=320,height=176,framerate=25/1 ! "
           f"x264enc key-int-max=25 tune=zerolatency ! {AVC} ! kvssink name=sink stream-name=silence "
           "audiotestsrc is-live=true samplesperbuffer=160 num-buffers=100 ! audio/x-raw,rate=8000,channels=1 ! "
           "mulawenc ! queue ! sink.")
    stored = Stored("silence")
    assert len(stored.hashes()) == 250
    assert 60 <= len(stored.hashes("audio")) <= 105, len(stored.hashes("audio"))
    assert stored.streams[0] == [("h264", 320, 176), ("pcm_mulaw", None, None)]
    assert stored.streams[-1] == [("h264", 320, 176)]


# ---- what goes wrong is named, and no secret in any log


def test_failures():
    for name, properties, says in (
            ("not-there", "allow-create-stream=false", "ResourceNotFound"),
            ("gate", "access-key=AKIDWRONG secret-key=a-wrong-secret", "UnrecognizedClientException"),
            ("gate", "endpoint=https://127.0.0.1:9", "127.0.0.1")):
        began = time.monotonic()
        output = launch(f"videotestsrc is-live=true num-buffers=75 ! x264enc tune=zerolatency ! {AVC} ! "
                        f"kvssink stream-name={name} {properties}", debug="kvssink:7,*:3")
        assert time.monotonic() - began < 30
        waits = [line for line in output.splitlines() if "kvg-stream-state" in line and "waiting" in line]
        assert waits and re.search(says, " ".join(waits)), output[-3000:]
        for secret in (SECRET, "a-wrong-secret", "AWS4-HMAC-SHA256"):
            assert secret not in output


TESTS = [test_source, rtsp("rtph264depay ! h264parse", "rtsp-parsed"),
         rtsp("rtph264depay ! video/x-h264, format=avc,alignment=au", "rtsp-plain"), test_files,
         test_sound_and_picture, test_live_sound_and_picture, test_iot, test_credential_file,
         test_intermittent, test_h265, test_byte_stream, test_resolution_changes_twice, test_gops,
         test_sound_alone, test_sound_stops, test_failures]


def main():
    launch("fakesrc num-buffers=1 ! fakesink")  # the registry, once
    only = os.environ.get("KVG_ONLY")
    tests = [test for test in TESTS if only is None or re.search(only, test.__name__)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        running = {pool.submit(test): test for test in tests}
        for done in concurrent.futures.as_completed(running):
            error = done.exception()
            print("not ok" if error else "ok", running[done].__name__, error or "", flush=True)
            failed += error is not None
    assert failed == 0, f"{failed} failed"


main()
