"""The faults: how each begins and ends, and what the agent must say about it."""
import os
import re
import signal


class Fault:
    """@states and @reason: what the agent must say; @shows: or what its status must show, given the one before.
    @is_steady: the camera stays live in its process and its session, and its recording has no gap unless it @loses
    pictures. @after_s: consequences may come so long after its end.
    @least_s: how long it lasts at least. @is_over: of the status, true when all is as it should be again."""

    def __init__(self, name, begin, finish, states=("live",), reason="", shows=None, is_steady=False, loses=True, least_s=0,
                 is_over=None, seen_s=45, back_s=75, after_s=4):
        self.name, self.begin, self.finish = name, begin, finish
        self.states, self.reason, self.shows = states, re.compile(reason), shows or (lambda seen, before: True)
        self.is_steady, self.loses, self.after_s = is_steady, loses, after_s
        self.least_s, self.seen_s, self.back_s = least_s, seen_s, back_s
        self.is_over = is_over or (lambda camera: True)

    def is_seen(self, seen, before):
        return (seen["state"] in self.states and self.reason.search(seen["reason"] or "") is not None and
                self.shows(seen, before))


def camera(**what):
    return lambda site, name: site.tell(name, **what)


def nothing(site, name):
    pass


def kill_worker(site, name):
    os.kill(site.status()[name]["process"], signal.SIGKILL)


def decoder(what):
    return lambda site, name: open(site.path("chaos/" + what), "w").close()


def mend(what):
    def finish(site, name):
        os.unlink(site.path("chaos/" + what))
        release(site, name)
    return finish


def release(site, name):
    """A camera whose process ended too often rests until it is switched off."""
    if "rests for" in (site.status()[name]["reason"] or ""):
        site.switch(name, False)
        site.switch(name, True)


def resize(site, name):
    now = site.status()[name]["width"]
    site.tell(name, width=640 if now == 320 else 320, height=352 if now == 320 else 176)


FAULTS = {fault.name: fault for fault in (
    Fault("reboot", camera(reboot_s=8), nothing, ("backoff", "connecting"),
          "ended the stream|cannot be reached|refuses the connection",
          least_s=8),
    Fault("cut", camera(cut=True), nothing, ("backoff", "connecting"), "ended the stream"),
    Fault("hang", camera(hang=True), camera(hang=False), ("stalled", "backoff"), "sends no frames|stopped sending"),
    Fault("wrong password", camera(locked=True, cut=True), camera(locked=False), ("backoff", "failed"),
          "refuses user and password"),
    Fault("garbage", camera(garbage=True), camera(garbage=False), ("stalled", "backoff"), "."),
    Fault("frozen clock", camera(frozen=True), camera(frozen=False), is_steady=True, loses=False,
          least_s=12),
    Fault("clock jump", camera(rtp_jump_s=7200, ntp_jump_s=7200), camera(rtp_jump_s=0, ntp_jump_s=0), least_s=8,
          is_steady=True, loses=False),
    Fault("resolution", resize, nothing, shows=lambda seen, before: seen["width"] not in (0, before["width"])),
    Fault("codec", camera(codec="h265"), camera(codec="h264"), least_s=12,
          shows=lambda seen, before: seen["codec"] == "h265", is_over=lambda status: status["codec"] == "h264"),
    Fault("packet loss", camera(loss=0.05), camera(loss=0), least_s=15, is_steady=True),
    Fault("worker killed", kill_worker, release, ("backoff", "connecting"), "signal 9"),
    Fault("decoder crashes", decoder("crash"), mend("crash"), ("failed",), "ended 5 times .* rests for"),
    Fault("decoder never returns", decoder("hang"), mend("hang"), ("stalled", "backoff"), ".",
          after_s=30),  # with its third lost decoder a worker ends by itself
)}
SHOP = ["decoder crashes", "decoder never returns", "reboot", "worker killed"]
USUAL = [name for name in FAULTS if not name.startswith("decoder")]
