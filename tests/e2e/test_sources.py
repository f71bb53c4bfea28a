"""Every kind of source reaches the server: RTSP by UDP and TLS, files in all their ways, frames of another
program in shared memory; what KVS cannot play is encoded, sound is made AAC, and what is wrong is said."""
import os
import subprocess
import time

from kvgtest import PATIENCE_S, Program, Site, wait_for

H264 = "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay name=pay0 pt=96 config-interval=-1"
PICTURE = "videotestsrc is-live=true ! video/x-raw,width=320,height=176,framerate=10/1 ! "
SOUND = "audiotestsrc is-live=true ! audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay name=pay1 pt=0"
OWN_S = 1767323045  # 2026-01-02T03:04:05Z
GIVEN_S = 1770091506  # 2026-02-03T04:05:06Z


def run(*arguments, **more):
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                   timeout=PATIENCE_S, **more)


class Sources(Site):
    """A site whose cameras are given one by one."""

    def __init__(self):
        super().__init__()
        self.lines, self.programs = [], []

    def clean(self):
        for program in self.programs:
            if isinstance(program, Program):
                program.stop()
            elif program.poll() is None:
                program.kill()
                program.wait()
        super().clean()

    def add(self, name, text):
        self.lines.append(f"  {name}: {{ {text} }}\n")

    def testcam(self, name, *arguments):
        program = Program(self, name, ["kvg-testcam", "--cameras", "1", "--port", "0", "--width", "320",
                                       "--height", "176", "--fps", "10", *arguments])
        self.programs.append(program)
        return program.ready["cameras"][0]["url"]

    def make_movie(self):
        """4 s of H.264 and AAC, as MP4 (with a time of its own), Matroska, MPEG-TS and bare H.264."""
        movie = self.path("movie.mp4")
        run("ffmpeg", "-y", "-f", "lavfi", "-i", "testsrc=size=320x176:rate=10:duration=4", "-f", "lavfi", "-i",
            "sine=duration=4", "-c:v", "libx264", "-preset", "ultrafast", "-g", "10", "-bf", "0", "-pix_fmt", "yuv420p",
            "-c:a", "aac", "-metadata", "creation_time=2026-01-02T03:04:05Z", movie)
        for name in ("movie.mkv", "movie.ts"):
            run("ffmpeg", "-y", "-i", movie, "-c", "copy", self.path(name))
        run("ffmpeg", "-y", "-i", movie, "-an", "-c:v", "copy", "-bsf:v", "h264_mp4toannexb", self.path("movie.h264"))

    def make_certificate(self):
        """ca.pem and server.pem of a camera at 127.0.0.1; its fingerprint."""
        def path(name):
            return self.path("tls-" + name)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        run("openssl", "req", "-x509", *key, "-subj", "/CN=test CA", "-keyout", path("ca.key"), "-out", path("ca.pem"))
        run("openssl", "req", *key[:-2], "-subj", "/CN=camera", "-keyout", path("key"), "-out", path("csr"))
        with open(path("ext"), "w") as out:
            out.write("subjectAltName=IP:127.0.0.1\n")
        run("openssl", "x509", "-req", "-in", path("csr"), "-CA", path("ca.pem"), "-CAkey", path("ca.key"),
            "-CAcreateserial", "-days", "2", "-extfile", path("ext"), "-out", path("cert"))
        with open(path("server.pem"), "w") as out:
            out.write(open(path("key")).read() + open(path("cert")).read())
        shown = subprocess.run(["openssl", "x509", "-in", path("cert"), "-noout", "-fingerprint", "-sha256"],
                               check=True, capture_output=True, text=True).stdout
        return shown.strip().split("=")[1].replace(":", "").lower()

    def start_writer(self, width):
        if os.path.exists(self.path("frames")):
            os.unlink(self.path("frames"))
        self.writer = subprocess.Popen(
            ["gst-launch-1.0", "-q", "videotestsrc", "is-live=true", "!",
             f"video/x-raw,format=BGR,width={width},height=176,framerate=10/1", "!", "shmsink",
             "socket-path=" + self.path("frames"), "wait-for-connection=false", "shm-size=20000000"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.programs.append(self.writer)

    def stop_writer(self):
        self.writer.terminate()
        self.writer.wait()

    def wait(self, name, state, **texts):
        """Until the camera is so, and each text is in the member of that name; the camera."""
        def there():
            camera = self.status()[name]
            good = camera["state"] == state and all(text in (camera.get(key) or "") for key, text in texts.items())
            return camera if good else None
        try:
            return wait_for(f"{name} to be {state} with {texts}", there)
        except AssertionError:
            print(self.status()[name])
            raise

    def fragments(self, name):
        everything = {"FragmentSelectorType": "PRODUCER_TIMESTAMP",
                      "TimestampRange": {"StartTimestamp": 0, "EndTimestamp": time.time() + 3600}}
        pages = self.client("kinesis-video-archived-media").get_paginator("list_fragments").paginate(
            StreamName=name, FragmentSelector=everything)
        return [item for page in pages for item in page["Fragments"]]

    def tracks(self, name):
        """Codecs of a stored fragment, as ffprobe sees them."""
        newest = max(self.fragments(name), key=lambda item: item["ProducerTimestamp"])["FragmentNumber"]
        media = self.client("kinesis-video-archived-media").get_media_for_fragment_list(StreamName=name, Fragments=[newest])["Payload"].read()
        with open(self.path("piece.mkv"), "wb") as out:
            out.write(media)
        shown = subprocess.run(["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0",
                                self.path("piece.mkv")], check=True, capture_output=True, text=True).stdout
        return shown.split()

    def wait_stored(self, name, at_least=2):
        wait_for(f"{name} to be stored", lambda: self.status()[name].get("fragments_persisted", 0) >= at_least)


def main():
    site = Sources()
    site.start_server()
    site.make_movie()
    fingerprint = site.make_certificate()
    secure = site.testcam("secure", "--certificate", site.path("tls-server.pem"))
    basic_secret = site.path("secret")
    with open(os.open(basic_secret, os.O_WRONLY | os.O_CREAT, 0o600), "w") as out:
        out.write("p:ss w@rd\n")
    basic = site.testcam("basic", "--basic", "--username", "viewer", "--password-file", basic_secret)
    site.add("udp", f"source: \"{site.testcam('udp')}\", rtsp: {{ transport: udp }}")
    site.add("hevc", f"source: \"{site.testcam('hevc', '--codec', 'h265', '--loop')}\", rtsp: {{ transport: auto }}")
    site.add("mjpeg", f"source: \"{site.testcam('mjpeg', '--codec', 'mjpeg', '--loop')}\"")
    site.add("sound", f"source: \"{site.testcam('sound', '--launch', f'( {PICTURE} {H264} {SOUND} )')}\"")
    bframes = H264.replace("tune=zerolatency", "bframes=2 b-adapt=false").replace(" ! rtp", " ! video/x-h264,profile=main ! rtp")
    url = site.testcam("bframes", "--launch", f"( {PICTURE} {bframes} )")
    site.add("bpass", f"source: \"{url}\"")
    site.add("bauto", f"source: \"{url}\", video: auto")
    site.add("basic", f"source: \"{basic}\", username: viewer, password_file: secret")
    site.add("wrong", f"source: \"{basic.replace('//', '//viewer:p%3Ass%20w@')}\"")
    site.add("tlsca", f"source: \"{secure}\", rtsp: {{ ca_bundle: tls-ca.pem }}")
    site.add("tlspin", f"source: \"{secure}\", rtsp: {{ certificate: \"sha256:{fingerprint}\" }}")
    site.add("tlsbad", f"source: \"{secure}\", rtsp: {{ certificate: \"sha256:{'0' * 64}\" }}")
    site.add("tlsnone", f"source: \"{secure}\"")
    site.add("tlsany", f"source: \"{secure}\", rtsp: {{ certificate: insecure }}")
    site.add("own", "source: file:movie.mp4, file: { pace: fast, time: own }")
    site.add("given", "source: file:movie.ts, file: { time: '2026-02-03T04:05:06Z', pace: fast }")
    site.add("timeless", "source: file:movie.ts, file: { time: own }")
    site.add("mkv", "source: file:movie.mkv, audio: off")
    site.add("bare", "source: file:movie.h264, file: { play: loop }")
    site.add("absent", "source: file:nothing.mp4")
    site.add("device", "source: v4l2:/dev/video-none")
    site.add("frames", "source: shm:frames, shm: { format: BGR, width: 320, height: 176, fps: 10 }")
    site.add("tone", "source: \"test:width=320,height=176,fps=10,sound=on\"")
    site.write_config("".join(site.lines))
    site.provision()
    site.start_agent()

    site.wait("udp", "live", decision="passthrough: H.264 main 320x176 at 10 frames/s, key frame each 1.0 s",
              clock="capture: the camera's clock")
    site.wait("hevc", "live", decision="passthrough: H.265")
    assert site.wait("mjpeg", "live", decision="encoded: the camera sends MJPEG")["encoder"]
    site.wait("sound", "live", decision="passthrough: H.264", audio="G.711, made AAC")
    site.wait("bpass", "live", decision="B-frames")
    site.wait("bauto", "live", decision="encoded: the camera sends B-frames")
    site.wait("basic", "live")
    site.wait("tlsca", "live")
    site.wait("tlspin", "live")
    site.wait("tlsany", "live")
    site.wait("wrong", "backoff", reason="refuses user and password")
    site.wait("tlsbad", "backoff", reason=fingerprint)
    site.wait("tlsnone", "backoff", reason=f"certificate that is not trusted; give rtsp.ca_bundle, or if it is the camera's, "
              f"rtsp.certificate: sha256:{fingerprint}")
    site.wait("absent", "failed", reason="No such file")
    site.wait("device", "failed", reason="there is no camera at /dev/video-none")
    site.wait("timeless", "failed", reason="does not say when it was recorded")
    site.wait("tone", "live", audio="made AAC")
    for name in ("own", "given", "mkv"):
        site.wait(name, "ended", reason="the whole file was played")
    assert "audio" not in site.status()["mkv"] or site.status()["mkv"]["audio"] is None

    # Frames of another program: it comes, goes, comes back, and comes with frames of another size.
    site.wait("frames", "failed", reason="no program writes frames there")
    for _ in range(2):
        site.start_writer(320)
        site.wait("frames", "live", decision="raw pictures 320x176")
        site.stop_writer()
        site.wait("frames", "failed", reason="no program writes frames there")
    site.start_writer(640)
    site.wait("frames", "failed", reason="correct shm: format, width, height")

    # What is stored lies where it should, whole.
    for name in ("udp", "hevc", "mjpeg", "sound", "bauto", "tlsca", "bare", "tone"):
        site.wait_stored(name)
    for name in ("own", "given", "mkv"):
        site.wait_stored(name, 4)
    listed = {name: sorted(item["ProducerTimestamp"].timestamp() for item in site.fragments(name))
              for name in ("own", "given")}
    for name, begin in (("own", OWN_S), ("given", GIVEN_S)):
        assert len(listed[name]) == 4, (name, listed)
        assert all(abs(at - (begin + i)) < 0.2 for i, at in enumerate(listed[name])), (name, listed, begin)
    assert site.status()["bare"]["frames"] > 40 or wait_for("the loop", lambda: site.status()["bare"]["frames"] > 60)
    for name in ("sound", "tone"):
        assert set(site.tracks(name)) == {"h264", "aac"}, site.tracks(name)
    assert os.path.exists(site.path("spool/encoders.json"))


main()
