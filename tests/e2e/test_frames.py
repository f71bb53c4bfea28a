"""Decoded frames for applications: the module panoramasdk over the agent's cameras. What an image is,
what get() and put() do, what an application that keeps, hangs or dies does to uploads (nothing)."""
import json
import os
import signal
import subprocess
import sys
import textwrap
import time

from kvgtest import BUILD, Site, find_gaps, wait_for

site = Site()
PYTHON = "/usr/bin/python3"


def contract(name, cameras, output=None, **more):
    path = site.path(name + ".json")
    inputs = {"video_in": {"type": "media", "cameras": [
        {"stream_id": camera + suffix, "stream_uri": f"rtsp://127.0.0.1/{camera}", "socket": socket}
        for camera, suffix, socket in cameras]},
        "threshold": {"type": "float32", "value": 1}, "count": {"type": "int32", "value": -7},
        "label": {"type": "string", "value": "naïve"}, "show": {"type": "boolean", "value": True}}
    with open(path, "w") as out:
        json.dump({"node": "code", "inputs": {**inputs, **more},
                   "outputs": {"video_out": {"type": "media", "socket": output} if output else {"type": "media"}}},
                  out)
    return path


def application(path, code, **more):
    """A Python application with the node `app`."""
    text = "import json, panoramasdk, time\nclass Application(panoramasdk.node):\n    pass\napp = Application()\n"
    environment = {**site.environment, "PYTHONPATH": os.path.join(BUILD, "python"), "KVG_PANORAMA_CONTRACT": path}
    return subprocess.Popen([PYTHON, "-c", text + textwrap.dedent(code)], env=environment, text=True,
                            stdout=subprocess.PIPE, **more)


def result(path, code):
    process = application(path, code)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0, process.returncode
    return json.loads(out.splitlines()[-1])


def frames_of(name):
    return site.path(f"frames/{name}.frames")


def troubles():
    return {name: (camera["state"], camera["restarts"], camera["frames_dropped_overload"]) for name, camera in site.status().items()}


def check_images(both):
    got = result(both, """
        import numpy
        times, ids, uris, cached, shapes, flags = [], set(), set(), 0, set(), set()
        for _ in range(20):
            streams = app.inputs.video_in.get()
            for media in streams:
                image = media.image
                assert image is media.image and image.dtype == numpy.uint8 and 10 < image.mean() < 250
                shapes.add(image.shape); flags.add((image.flags.writeable, image.flags.owndata))
                ids.add(media.stream_id); uris.add(media.stream_uri); cached += media.is_cached
                if not media.is_cached:
                    times.append((media.stream_id, media.time_stamp[0] + media.time_stamp[1] / 1e6))
        try:
            image[0, 0] = 1
        except ValueError as error:
            refused = str(error)
        now = time.time()
        print(json.dumps({"ids": sorted(ids), "uris": sorted(uris), "cached": cached, "times": times, "now": now,
            "shapes": sorted(shapes), "flags": sorted(flags), "refused": refused, "copies": panoramasdk._copies(),
            "values": [app.inputs.threshold.get(), app.inputs.count.get(timeout=1), app.inputs.label.get(),
                       app.inputs.show.get()], "kinds": [type(app.inputs.threshold.get()).__name__]}))
        """)
    assert got["shapes"] == [[176, 320, 3]], got
    assert got["flags"] == [[False, False]] and "read-only" in got["refused"], got
    assert got["ids"] == sorted([site.names[0], site.names[1] + UUID]), got
    assert got["uris"] == sorted(f"rtsp://127.0.0.1/{name}" for name in site.names), got
    assert got["values"] == [1.0, -7, "naïve", True] and got["kinds"] == ["float"], got
    assert got["copies"] == 0, got
    for name in got["ids"]:
        times = [when for camera, when in got["times"] if camera == name]
        assert len(times) >= 15 and times == sorted(times), times
        assert abs(got["now"] - times[-1]) < 10, (got["now"], times[-1])
    # 20 sets of both cameras: most of them whole.
    assert got["cached"] <= 10, got["cached"]


def check_errors(both):
    got = result(both, """
        said = {}
        def refuse(name, kind, run):
            try:
                run()
            except kind as error:
                said[name] = f"{type(error).__name__}: {error}"
        streams = app.inputs.video_in.get()
        refuse("empty", ValueError, lambda: app.outputs.video_out.put([]))
        refuse("image", TypeError, lambda: app.outputs.video_out.put([streams[0].image]))
        refuse("port", AttributeError, lambda: app.inputs.video_inn)
        refuse("call", NotImplementedError, lambda: app.call(1, "model", 5))
        refuse("nan", ValueError, lambda: streams[0].add_label("x", float("nan"), 0))
        refuse("minus", ValueError, lambda: app.inputs.video_in.get(timeout=-1))
        refuse("word", TypeError, lambda: app.inputs.video_in.get("soon"))
        app.outputs.video_out.put(streams)
        print(json.dumps(said))
        """)
    assert got["empty"] == "ValueError: video_out.put() of an empty list", got
    assert "media only, not numpy.ndarray" in got["image"], got
    assert "no 'video_inn' in its inputs" in got["port"] and "video_in" in got["port"], got
    assert "models are not provided here" in got["call"], got
    assert set(got) == {"empty", "image", "port", "call", "nan", "minus", "word"}, got
    nobody = contract("nobody", [("gate", "", frames_of("nobody"))])
    got = result(nobody, """
        begin = time.monotonic()
        try:
            app.inputs.video_in.get(timeout=0.5)
        except panoramasdk.TimeoutException as error:
            print(json.dumps([str(error), isinstance(error, TimeoutError), time.monotonic() - begin]))
        """)
    assert "no camera delivered" in got[0] and got[1] and got[2] >= 0.5, got


def check_keeper(both):
    """An application may keep what it got: beyond a few frames they are copies, and none changes."""
    got = result(both, """
        kept = []
        while len(kept) < 12:
            kept += [(m.image, m.image.copy()) for m in app.inputs.video_in.get() if not m.is_cached]
        for _ in range(10):
            app.inputs.video_in.get()
        print(json.dumps([all((a == b).all() for a, b in kept), len(kept), panoramasdk._copies()]))
        """)
    assert got[0] and 0 < got[2] < got[1] + 25, got


def check_screen(both):
    """What is put is shown with labels and rectangles: the output is read as a camera is."""
    output = site.path("frames/screen.frames")
    path = contract("shown", [(name, "", frames_of(name)) for name in site.names], output=output)
    shower = application(path, """
        while True:
            streams = app.inputs.video_in.get()
            for media in streams:
                media.add_rect(0.25, 0.25, 0.75, 0.75)
                media.add_label("Größe 1", 0.02, 0.9)
            app.outputs.video_out.put(streams)
        """)
    try:
        wait_for("the output", lambda: os.path.exists(output))
        viewer = contract("viewer", [("screen", "", output)])
        got = result(viewer, """
            best = [0, 0, 0]
            for _ in range(20):
                image = app.inputs.video_in.get(timeout=60)[0].image.astype(int)
                red = (abs(image - [51, 51, 255]).sum(axis=2) < 90)
                white = (image.min(axis=2) > 240)
                halves = [int(red[:, :640].sum()), int(red[:, 640:].sum()), int(white.sum())]
                best = [max(a, b) for a, b in zip(best, halves)]
            print(json.dumps([image.shape, best]))
            """)
        assert got[0] == [720, 1280, 3], got
        assert got[1][0] > 500 and got[1][1] > 500 and got[1][2] > 100, got
    finally:
        shower.kill()
        shower.wait()
        shower.stdout.close()


def check_harm(both):
    """One hangs, one is killed, one is slow, one is quick: the quick one and the uploads go on."""
    loop = "print(len(app.inputs.video_in.get()), flush=True)\nwhile True:\n    s = app.inputs.video_in.get()\n"
    hung, killed = application(both, loop), application(both, loop)
    for process in (hung, killed):
        assert process.stdout.readline()
    hung.send_signal(signal.SIGSTOP)
    killed.send_signal(signal.SIGKILL)
    begin = time.time()
    try:
        got = result(both, """
            begin, n, slow = time.monotonic(), 0, []
            while time.monotonic() - begin < 6:
                n += sum(not m.is_cached for m in app.inputs.video_in.get())
            for _ in range(3):
                time.sleep(1)
                newest = app.inputs.video_in.get()[0]
                slow.append(time.time() - newest.time_stamp[0] - newest.time_stamp[1] / 1e6)
            print(json.dumps([n, slow]))
            """)
    finally:
        for process in (hung, killed):
            process.kill()
            process.wait()
            process.stdout.close()
    assert got[0] >= 60, got  # two cameras of 10 a second for 6 s
    return begin


def check_uploads(begin, before):
    assert troubles() == before, (before, troubles())
    for name in site.names:
        entries = wait_for("the upload of " + name, lambda: (
            lambda entries: entries if entries and entries[-1][1] > begin + 8 else None)(site.playlist(name)))
        assert find_gaps(entries) == [], (name, find_gaps(entries))
    for camera in site.status().values():
        assert camera["frames_dropped"] == 0, camera


UUID = "01234567-89ab-cdef-0123-456789abcdef"


def main():
    site.start_server()
    site.start_cameras(2)
    site.write_config("defaults: { frames: on }\n")
    site.provision()
    site.start_agent()
    site.wait_live()
    before = troubles()
    assert os.stat(site.path("frames")).st_mode & 0o777 == 0o700
    both = contract("both", [(site.names[0], "", frames_of(site.names[0])),
                             (site.names[1], UUID, frames_of(site.names[1]))])
    check_images(both)
    check_errors(both)
    check_keeper(both)
    check_screen(both)
    begin = check_harm(both)
    check_uploads(begin, before)


if __name__ == "__main__":
    main()
    print("ok", file=sys.stderr)
