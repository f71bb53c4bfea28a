"""libkvg as a developer gets it: installed headers, library and pkg-config file; the example is built
against them, streams an H.264 file with keys and with a certificate, and an outside player sees the
same pictures."""
import os
import shlex
import subprocess

import kvgtest

FRAMES, FPS = 100, 50

site = kvgtest.Site()
installed = site.path("installed")
log = subprocess.run(["meson", "install", "-C", kvgtest.BUILD, "--no-rebuild", "--destdir", installed,
                      "--tags", "runtime,devel"], capture_output=True, text=True)
assert log.returncode == 0, log.stdout + log.stderr
[pc] = [os.path.join(folder, "kvg.pc") for folder, _, files in os.walk(installed) if "kvg.pc" in files]
text = open(pc).read()
prefix = next(line.split("=", 1)[1].strip() for line in text.splitlines() if line.startswith("prefix="))
with open(pc, "w") as out:  # where it lies now, below the folder given to meson install
    out.write(text.replace(f"prefix={prefix}\n", f"prefix={installed}{prefix}\n"))
[library] = [folder for folder, _, files in os.walk(installed) if "libkvg.so" in files]


def pkg_config(*arguments):
    done = subprocess.run(["pkg-config", *arguments, "kvg"], capture_output=True, text=True,
                          env=dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(pc)))
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout)


source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../examples/stream-file.c")
program = site.path("stream-file")
flags = pkg_config("--cflags", "--libs")
assert any(installed in flag for flag in flags), flags
built = subprocess.run(["cc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", program, source, *flags],
                       capture_output=True, text=True)
assert built.returncode == 0, built.stderr
needed = subprocess.run(["readelf", "-d", program], capture_output=True, text=True).stdout
assert "libkvg.so.0" in needed, needed

# ---- a file with several slices for each picture, and a server
film = site.path("film.h264")
subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", f"testsrc2=size=320x176:rate={FPS}",
                "-frames:v", str(FRAMES), "-c:v", "libx264", "-bf", "0", "-g", "25", "-x264-params",
                "slices=3:scenecut=0", "-y", film], check=True)
site.start_server()
site.write_config("  gate: { source: \"rtsp://127.0.0.1:1/never-used\" }\n")
site.provision()


def stream(name, **more):
    done = subprocess.run([program, name, film, str(FPS)], capture_output=True, text=True, timeout=120,
                          env=dict(site.environment, LD_LIBRARY_PATH=library,
                                   AWS_ENDPOINT_URL=site.endpoint, **more), cwd=site.path("certs"))
    assert done.returncode == 0, done.stderr
    assert f"{name}: {FRAMES} frames" in done.stderr, done.stderr


def pictures(path):
    done = subprocess.run(["ffmpeg", "-v", "error", "-i", path, "-an", "-pix_fmt", "yuv420p", "-f",
                           "framemd5", "-"], capture_output=True, text=True, check=True)
    return [line.split(",")[-1].strip() for line in done.stdout.splitlines() if not line.startswith("#")]


expected = pictures(film)
assert len(expected) == FRAMES and len(set(expected)) > FRAMES / 2
stream("film", XDG_CACHE_HOME=site.path("cache1"))
stream("gate", XDG_CACHE_HOME=site.path("cache2"), AWS_SHARED_CREDENTIALS_FILE="/nowhere",
       KVG_IOT_ENDPOINT=f"127.0.0.1:{site.ports['mtls']}")
for name in ("film", "gate"):
    site.playlist(name)
    stored = pictures(f"{site.media_base}getHLSMediaPlaylist.m3u8?SessionToken={site.media_token}"
                      "&TrackNumber=1")
    assert stored == expected, (name, len(stored))

# ---- what is wrong is said
wrong = subprocess.run([program, "film", site.path("absent.h264")], capture_output=True, text=True,
                       env=dict(site.environment, LD_LIBRARY_PATH=library))
assert wrong.returncode == 1 and "absent.h264" in wrong.stderr, wrong.stderr
assert subprocess.run([program], env=dict(os.environ, LD_LIBRARY_PATH=library),
                      capture_output=True).returncode == 2
site.server.stop()
