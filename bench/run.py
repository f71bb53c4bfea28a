#!/usr/bin/env python3
"""Runs the benchmarks and prints one JSON line each; then which targets were met.

    bench/run.py [NAME ...]      all, or those named; --list names them

BENCH=full measures longer and repeats more often than BENCH=short (the default). KVG_BUILD is the
build folder. CPU is user and system time of one process, so other work on the machine disturbs it
little; candidates that are compared run in turns within one run, and medians are compared."""
import os
import shutil
import signal
import statistics
import sys
import time

from agent import agent_8, agent_16
from encode import encode
from programs import Folder, Program, choose, emit, finished, met, missed, per_gb, rounded

# ---- the producer ----

def against_bare_writer(bench, traffic, target, check):
    """libkvg and the bare TLS writer in turns. What the thread that puts the frames needs for its own
    clock is part of both; `less_feeder` is without it."""
    kvg, less_feeder, bare = [], [], []
    seconds = choose(8, 20)
    with Folder() as folder:
        sink = folder.sink()
        for _ in range(choose(3, 7)):
            result = finished(folder.feed(sink, seconds=seconds, **traffic))
            kvg.append(per_gb(result))
            less_feeder.append((result["cpu_s"] - result["feeder_cpu_s"]) / (result["sent_bytes"] / 1e9))
            bare.append(per_gb(finished(folder.load(sink, seconds=seconds, **traffic)), "bytes"))
    figures = {"cpu_s_per_gb": rounded(statistics.median(kvg)),
               "bare_cpu_s_per_gb": rounded(statistics.median(bare)),
               "ratio": rounded(statistics.median(k / b for k, b in zip(kvg, bare))),
               "less_feeder": rounded(statistics.median(less_feeder))}
    emit(bench, figures, target, check(figures))


def producer_cpu():
    against_bare_writer("producer-cpu", dict(streams=100, kbps=4000), "ratio <= 1.5",
                        lambda f: f["ratio"] <= 1.5)


def producer_small_frames():
    against_bare_writer("producer-small-frames", dict(streams=50, kbps=2000),
                        "less_feeder <= 2.3", lambda f: f["less_feeder"] <= 2.3)


def producer_scale():
    """Memory and threads of 1 to 1,000 streams in one process, streaming."""
    rows = {}
    with Folder() as folder:
        sink = folder.sink()
        for streams in (1, 10, 100, 1000):
            kbps = 1000 if streams < 1000 else choose(500, 1000)
            result = finished(folder.feed(sink, streams=streams, kbps=kbps, fps=15, gop=15,
                                          seconds=choose(6, 20)))
            rows[streams] = result
            emit(f"producer-scale-{streams}",
                 {"cpu_s_per_gb": rounded(per_gb(result)), "rss_mib": rounded(result["rss_kib"] / 1024, 1),
                  "threads": result["threads"], "dropped": result["dropped"],
                  "sent_mb": rounded(result["sent_bytes"] / 1e6, 1),
                  "put_us": result["put_us"]})
    first, last = rows[1], rows[1000]
    each = (last["rss_kib"] - first["rss_kib"]) / 1024 / 999
    emit("producer-memory", {"mib_per_further_stream": rounded(each, 3),
                             "further_threads": last["threads"] - first["threads"]},
         "<= 0.5 MB and no thread per further stream",
         each * 1.048576 <= 0.5 and last["threads"] == first["threads"])
    emit("producer-1000", {"dropped": last["dropped"], "sessions": last["sessions"],
                           "cpu_s_per_gb": rounded(per_gb(last))},
         "1000 streams, nothing dropped, one session each",
         last["dropped"] == 0 and last["sessions"] == 1000)


def producer_start():
    """Start to first PERSISTED, against kvg-server: one stream, then 50 at once. Fragments of 1 s."""
    one, many = [], []
    with Folder() as folder:
        server = folder.server()
        for i in range(choose(3, 7)):
            for streams, into in ((1, one), (50, many)):
                result = finished(folder.feed(server, streams=streams, kbps=1000, fps=15, gop=15,
                                              seconds=1, prefix=f"start{i}-{streams}-"))
                into.append(result["first_persisted_us"])
    first_ms = statistics.median(r["p50"] for r in one) / 1000
    many_ms = statistics.median(r["max"] for r in many) / 1000
    emit("first-persisted", {"ms": rounded(first_ms, 0), "gop_ms": 1000},
         "one GOP + 300 ms", first_ms <= 1300)
    emit("producer-start-50", {"ms_one": rounded(first_ms, 0), "ms_last_of_50": rounded(many_ms, 0),
                               "ratio": rounded(many_ms / first_ms)},
         "50 streams start in the time of one (within a quarter)", many_ms <= 1.25 * first_ms)


def put_frame():
    """How long put_frame takes: as it should be, and with the server stopped in its tracks."""
    traffic = dict(streams=50, kbps=2000, seconds=choose(12, 60))
    with Folder() as folder:
        sink = folder.sink()
        load = finished(folder.feed(sink, **traffic))
        emit("put-frame-load", load["put_us"], "p99.9 < 1 ms", load["put_us"]["p999"] < 1000)
        feed = folder.feed(sink, **traffic)
        feed.until("measuring")
        sink.send(signal.SIGSTOP)
        hole = feed.result()
        sink.send(signal.SIGCONT)
        feed.end()
        emit("put-frame-black-hole", {**hole["put_us"], "dropped": hole["dropped"],
                                      "sent_mb": rounded(hole["sent_bytes"] / 1e6, 1)},
             "p99.9 < 1 ms", hole["put_us"]["p999"] < 1000 and hole["dropped"] == 0)


def catch_up():
    """Eight cameras come back from an outage and go on while the backlog goes up to kvg-server."""
    backlog_s = choose(60, 600)
    with Folder() as folder:
        server = folder.server()
        port = server.port
        server.stop()
        feed = folder.feed(server, streams=8, kbps=4000, backlog=backlog_s, spool_mib=2048)
        feed.until("backlog")
        folder.server(https_port=port)
        feed.process.stdin.write(b"\n")
        feed.process.stdin.flush()
        result = finished(feed, 700)
    emit("catch-up", {**result, "part_of_outage": rounded(result["took_s"] / backlog_s, 3)},
         "all of it, in <= 1/5 of the outage",
         result["caught_up"] and result["dropped"] == 0 and result["took_s"] <= backlog_s / 5)


def micro():
    with Folder() as folder:
        program = Program(folder, "bench-micro")
        for _ in range(4):
            line = program.line()
            emit(line.pop("bench"), line)
        program.end()


# ---- the server ----

def measured(server, load):
    """The load's result and the server's CPU while it measured."""
    load.until("measuring")
    before = server.cpu_s()
    load.until("measured")
    cpu_s = server.cpu_s() - before
    rss, threads = server.status("VmRSS"), server.status("Threads")
    result = finished(load)
    return {**result, "server_cpu_s": cpu_s, "server_cpu_s_per_gb": cpu_s / (result["bytes"] / 1e9),
            "rss_kib": rss, "threads": threads}


def load_server(folder, **traffic):
    server = folder.server()
    result = measured(server, folder.load(server, control_port=server.ready["http_port"], **traffic))
    server.stop()
    shutil.rmtree(folder.path("server"), ignore_errors=True)
    return result


def load_bare_reader(folder, **traffic):
    file = folder.path("bytes")
    sink = folder.sink(file=file)
    result = measured(sink, folder.load(sink, blind=True, **traffic))
    sink.stop()
    os.unlink(file)
    return result


def is_whole(result):
    return (result["errors"] == 0 and result["lost"] == 0 and
            result["persisted"] == result["fragments"])


def server_cpu():
    """CPU per GB of kvg-server and of a bare TLS reader that writes the same traffic to one file."""
    kvg, bare = [], []
    with Folder() as folder:
        for _ in range(choose(3, 5)):
            traffic = dict(streams=100, kbps=4000, seconds=choose(8, 20))
            kvg.append(load_server(folder, **traffic))
            bare.append(load_bare_reader(folder, **traffic))
    ratio = statistics.median(k["server_cpu_s_per_gb"] / b["server_cpu_s_per_gb"]
                              for k, b in zip(kvg, bare))
    emit("server-cpu", {
        "cpu_s_per_gb": rounded(statistics.median(k["server_cpu_s_per_gb"] for k in kvg)),
        "bare_cpu_s_per_gb": rounded(statistics.median(b["server_cpu_s_per_gb"] for b in bare)),
        "ratio": rounded(ratio), "persisted_us": kvg[-1]["persisted_us"]},
         "ratio <= 2", ratio <= 2 and all(is_whole(k) for k in kvg))


def server_load():
    """1,000 streams of 1 Mbit/s, and what a GB costs then against 10 streams."""
    few = []
    traffic = dict(kbps=1000, gop=30)
    with Folder() as folder:
        few.append(load_server(folder, streams=10, seconds=choose(15, 30), **traffic))
        many = load_server(folder, streams=1000, seconds=choose(20, 60), warm=5, **traffic)
        few.append(load_server(folder, streams=10, seconds=choose(15, 30), **traffic))
    emit("server-1000", {
        "persisted_us": many["persisted_us"], "fragments": many["fragments"],
        "persisted": many["persisted"], "errors": many["errors"], "lost": many["lost"],
        "lagging_frames": many["lagging_frames"], "mb_per_s": rounded(many["bytes"] / choose(20, 60) / 1e6, 1),
        "server_cores": rounded(many["server_cpu_s"] / choose(20, 60)),
        "generator_cores": rounded(many["cpu_s"] / choose(20, 60)),
        "rss_mib": rounded(many["rss_kib"] / 1024, 0), "threads": many["threads"]},
         "PERSISTED p99 < 1 s, no error",
         many["persisted_us"]["p99"] < 1e6 and is_whole(many))
    cost_few = statistics.mean(f["server_cpu_s_per_gb"] for f in few)
    ratio = many["server_cpu_s_per_gb"] / cost_few
    emit("server-scale", {"cpu_s_per_gb_10": rounded(cost_few),
                          "cpu_s_per_gb_1000": rounded(many["server_cpu_s_per_gb"]),
                          "ratio": rounded(ratio)}, "ratio <= 2", ratio <= 2)


def server_players():
    """100 streams of 1 Mbit/s, alone and with 200 HLS players on 20 of them."""
    traffic = dict(streams=100, kbps=1000, gop=30, seconds=choose(15, 45))
    with Folder() as folder:
        alone = load_server(folder, **traffic)
        server = folder.server()
        load = folder.load(server, control_port=server.ready["http_port"], warm=6, **traffic)
        time.sleep(5)
        players = Program(folder, "bench-players", port=server.port, ca=server.ca,
                          seconds=traffic["seconds"] + 3)
        with_players = measured(server, load)
        watched = finished(players)
    emit("server-players", {
        "persisted_us_alone": alone["persisted_us"], "persisted_us": with_players["persisted_us"],
        "segments": watched["segments"], "player_errors": watched["errors"],
        "playlist_us": watched["playlist_us"], "errors": with_players["errors"],
        "lagging_frames": with_players["lagging_frames"],
        "server_cores_alone": rounded(alone["server_cpu_s"] / traffic["seconds"]),
        "server_cores": rounded(with_players["server_cpu_s"] / traffic["seconds"])},
         "PERSISTED p99 < 1 s, no error, every player plays",
         with_players["persisted_us"]["p99"] < 1e6 and is_whole(with_players) and
         watched["errors"] == 0 and watched["segments"] >= 200 * (traffic["seconds"] - 5) * 0.8)


BENCHES = {f.__name__.replace("_", "-"): f for f in (
    producer_cpu, producer_small_frames, producer_scale, producer_start, put_frame, catch_up, micro,
    server_cpu, server_load, server_players, agent_16, agent_8, encode)}


def main():
    names = sys.argv[1:] or list(BENCHES)
    if names == ["--list"]:
        print("\n".join(BENCHES))
        return 0
    unknown = [name for name in names if name not in BENCHES]
    if unknown:
        print(f"no benchmark '{unknown[0]}'; there are: {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in names:
        BENCHES[name]()
    print(f"{len(met)} targets met, {len(missed)} missed" +
          (": " + ", ".join(missed) if missed else ""), file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
