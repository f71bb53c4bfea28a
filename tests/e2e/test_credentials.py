"""Each link between a camera and its keys broken in turn, against the real credentials provider; and a
role assumed by a profile, against the real STS."""
import json
import os
import shutil
import subprocess
import time

import kvgtest

LINKS = ("good", "thing", "inactive", "policy", "mismatch")

site = kvgtest.Site()
site.start_server()
site.write_config("".join(f"  {name}: {{ source: \"rtsp://127.0.0.1:1/x\" }}\n" for name in LINKS))
site.provision()
certs = site.path("certs")
film = site.path("film.h264")
subprocess.run(["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=size=64x64:rate=25", "-t", "20",
                "-c:v", "libx264", "-bf", "0", "-g", "25", "-y", film], check=True)
program = os.path.join(kvgtest.BUILD, "include/kvg/stream-file")


class Camera:
    """The example with a camera's certificate; its last line says what state the stream is in."""

    def __init__(self, name, ca=site.path("server/ca.pem"), endpoint=None):
        self.name = name
        self.log = site.path(f"camera-{name}-{time.monotonic_ns()}.txt")
        with open(self.log, "w") as out:
            self.process = subprocess.Popen(
                [program, name, film], stderr=out, cwd=certs, env=dict(
                    site.environment, XDG_CACHE_HOME=self.log + ".spool", AWS_ENDPOINT_URL=site.endpoint,
                    AWS_CA_BUNDLE=ca, KVG_LOG_LEVEL="warning",
                    KVG_IOT_ENDPOINT=endpoint or f"127.0.0.1:{site.ports['mtls']}"))

    def says(self):
        with open(self.log) as log:
            return log.read()

    def end(self):
        self.process.kill()
        self.process.wait()


def expect(**links):
    """Runs a camera for each link; each must name it, with the thing, before long."""
    cameras = {name: (Camera(name), text) for name, text in links.items()}
    for name, (camera, text) in cameras.items():
        wanted = f"credentials of thing '{name}': {text}"
        try:
            kvgtest.wait_for(wanted, lambda: wanted in camera.says(), patience_s=30)
        except AssertionError:
            raise AssertionError(f"{wanted} expected in:\n{camera.says()}") from None
        finally:
            camera.end()
        said = camera.says()
        with open(f"{certs}/{name}.private.key") as key:
            assert key.read().splitlines()[1] not in said
        assert "; " in said, said


iot, iam = site.client("iot"), site.client("iam")
with open(f"{certs}/provision.json") as file:
    state = json.load(file)


def certificate(name):
    [arn] = iot.list_thing_principals(thingName=name)["principals"]
    return arn


# ---- one link for each camera
iot.detach_thing_principal(thingName="thing", principal=certificate("thing"))
iot.update_certificate(certificateId=certificate("inactive").rsplit("/", 1)[1], newStatus="INACTIVE")
for policy in iot.list_attached_policies(target=certificate("policy"))["policies"]:
    iot.detach_policy(policyName=policy["policyName"], target=certificate("policy"))
shutil.copy(f"{certs}/good.private.key", f"{certs}/mismatch.private.key")
expect(thing="thing: ", inactive="certificate: ", policy="policy: ",
       mismatch="certificate: private key ")

# ---- links that all cameras share: alias, then role
good = Camera("good")
kvgtest.wait_for("a fragment of the good camera", lambda: site.kvg(
    "play", "good", "--on-demand", "-c", site.path("kvg.yaml"), check=False).returncode == 0)
good.end()
alias = iot.describe_role_alias(roleAlias="KvgCamera")["roleAliasDescription"]
iot.delete_role_alias(roleAlias="KvgCamera")
expect(good="alias: ")
role = alias["roleArn"].rsplit("/", 1)[1]
iot.create_role_alias(roleAlias="KvgCamera", roleArn=alias["roleArn"], credentialDurationSeconds=900)
trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole",
                                                 "Principal": {"Service": "ec2.amazonaws.com"}}]}
iam.update_assume_role_policy(RoleName=role, PolicyDocument=json.dumps(trust))
expect(good="role: ")

# ---- a profile that assumes a role, for the tools of the command line
account = site.client("sts").get_caller_identity()
trust["Statement"][0]["Principal"] = {"AWS": account["Account"]}
viewer = iam.create_role(RoleName="viewer", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
iam.put_role_policy(RoleName="viewer", PolicyName="view", PolicyDocument=json.dumps({
    "Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "kinesisvideo:*",
                                            "Resource": "*"}]}))
with open(site.path("config"), "w") as out:
    out.write(f"[profile viewer]\nrole_arn = {viewer}\nsource_profile = default\nregion = us-east-1\n")


def play():
    return subprocess.run([os.path.join(kvgtest.BUILD, "kvg"), "play", "good", "--on-demand", "--profile",
                           "viewer", "-c", site.path("kvg.yaml")], capture_output=True, text=True,
                          env=dict(site.environment, AWS_CONFIG_FILE=site.path("config"),
                                   AWS_ENDPOINT_URL=site.endpoint), timeout=60)


with_role = play()
assert with_role.returncode == 0 and with_role.stdout.startswith("http"), with_role.stderr
iam.delete_role_policy(RoleName="viewer", PolicyName="view")
refused = play()
assert refused.returncode == 1 and "assumed-role/viewer/kvg" in refused.stderr, refused.stderr
trust["Statement"][0]["Principal"] = {"Service": "ec2.amazonaws.com"}
iam.update_assume_role_policy(RoleName="viewer", PolicyDocument=json.dumps(trust))
untrusted = play()
assert untrusted.returncode == 1, untrusted.stdout
assert f"role {viewer}: role: " in untrusted.stderr and "must trust" in untrusted.stderr, untrusted.stderr
site.server.stop()
