"""kvg doctor against more than 25 ways to break the chain between a camera and its video: it names the right
link, says what to do, and tells no secret."""
import json
import os
import shutil
import socket
import subprocess
import threading

import kvgtest

site = kvgtest.Site()
site.start_server()
site.write_config("  gate: { source: \"test:\" }\n  yard: { source: \"test:\" }\n")
site.provision()
config, certs = site.path("kvg.yaml"), site.path("certs")
good_config = open(config).read()
iot, iam, kvs = site.client("iot"), site.client("iam"), site.client("kinesisvideo")
ROLE, POLICY, ALIAS = "KvgCameraRole", "KvgCameraPolicy", "KvgCamera"
account = site.client("sts").get_caller_identity()["Account"]
trust = iam.get_role(RoleName=ROLE)["Role"]["AssumeRolePolicyDocument"]
inline = iam.get_role_policy(RoleName=ROLE, PolicyName="kvg-camera")["PolicyDocument"]
documents = json.loads(iot.get_policy(policyName=POLICY)["policyDocument"])
[arn] = iot.list_thing_principals(thingName="gate")["principals"]
cert_id = arn.rsplit("/", 1)[1]
# What must never be printed: keys, tokens, the operator's secrets.
secrets = [line for name in ("gate", "yard") for line in open(f"{certs}/{name}.private.key").read().splitlines()
           if len(line) > 40 and "-----" not in line]
secrets += [site.administrator()["aws_secret_access_key"], "p$ss word"]


def doctor(*arguments, environment=None):
    done = subprocess.run([os.path.join(kvgtest.BUILD, "kvg"), "doctor", *arguments, "-c", config],
                          capture_output=True, text=True, timeout=120, env=environment or site.environment)
    said = done.stdout + done.stderr
    for secret in secrets + ["SessionToken", "ASIA", "Credential="]:
        assert secret not in said, f"a secret in: {said}"
    return done


def diagnose():
    done = doctor("gate", "--output", "json")
    [gate] = json.loads(done.stdout)["cameras"]
    assert done.returncode == (0 if gate["healthy"] else 1), done
    return gate


ways = 0


def broken(link, text="", what=""):
    """The one broken link, the last one; it says what it saw and what to do."""
    global ways
    gate = diagnose()
    last = gate["links"][-1]
    assert gate["broken"] == link and last["link"] == link and last["state"] == "broken", (what, link, gate)
    assert text in last["evidence"], (what, last)
    assert len(last["remedy"]) > 10, last
    assert all(earlier["state"] != "broken" for earlier in gate["links"][:-1]), gate
    ways += 1
    return [entry["link"] for entry in gate["links"]]


class Changed:
    """A file with another content, for a while; None: it is not there."""

    def __init__(self, path, content, mode=0o600):
        self.path, self.content, self.mode = path, content, mode

    def __enter__(self):
        shutil.move(self.path, self.path + ".kept")
        if self.content is not None:
            with open(os.open(self.path, os.O_WRONLY | os.O_CREAT, self.mode), "w") as out:
                out.write(self.content)

    def __exit__(self, *_):
        if os.path.exists(self.path):
            os.unlink(self.path)
        shutil.move(self.path + ".kept", self.path)


def identity(text):
    return Changed(config, good_config.replace("identity: { directory: certs }", f"identity: {{ directory: certs, {text} }}"))


def openssl(*arguments):
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


def expired(*dates):
    """A certificate of the gate's key, good between @dates."""
    openssl("req", "-x509", "-key", f"{certs}/gate.private.key", "-subj", "/CN=gate", "-out", site.path("x.pem"),
            "-days", "1")
    openssl("x509", "-in", site.path("x.pem"), "-signkey", f"{certs}/gate.private.key", *dates, "-out",
            site.path("x.pem"))
    return open(site.path("x.pem")).read()


# ---- healthy, without video and with it
gate = diagnose()
assert gate["healthy"], gate
links = [entry["link"] for entry in gate["links"]]
assert links == ["file", "DNS", "TCP", "TLS", "CA", "certificate", "thing", "policy", "alias", "role", "stream",
                 "PutMedia", "playback", "MQTT"], links
assert [e for e in gate["links"] if e["link"] == "playback"][0]["state"] == "unknown"
assert "0 of 2 cameras broken" in doctor().stdout
assert doctor("nobody").returncode == 2
put = kvgtest.PutMedia(site, "gate")
import time  # noqa: E402
put.send(kvgtest.mkv_header() + kvgtest.mkv_cluster(int(time.time() * 1000), [b"\x00\x00\x00\x02\x65\x88"] * 3, 33))
put.finish()
gate = diagnose()
assert gate["healthy"] and "s ago" in [e for e in gate["links"] if e["link"] == "PutMedia"][0]["evidence"], gate

# ---- on this machine
certificate, key = f"{certs}/gate.cert.pem", f"{certs}/gate.private.key"
with Changed(f"{certs}/provision.json", None):
    broken("provisioning", "no credentials endpoint")
with Changed(f"{certs}/provision.json", "not JSON"):
    broken("provisioning")
with Changed(certificate, None):
    broken("file")
with Changed(key, None):
    broken("file")
with Changed(certificate, "garbage"):
    broken("certificate")
with Changed(key, open(f"{certs}/yard.private.key").read()):
    broken("certificate")
openssl("ec", "-in", key, "-aes128", "-passout", "pass:x", "-out", site.path("locked.pem"))
with Changed(key, open(site.path("locked.pem")).read()):
    broken("file")
with Changed(certificate, expired("-days", "-1")):
    broken("certificate", "has expired")
with Changed(config, good_config.replace("server/ca.pem", "server/credentials")):
    broken("CA", what="a CA file without certificates")
with Changed(config, good_config.replace("test:", "gopher:")):
    assert doctor("gate").returncode == 1 and "source" in doctor("gate").stderr

# ---- the network
with identity("credentials_endpoint: kvg-no-such-host.invalid"):
    assert "DNS" in broken("DNS")
closed = socket.socket()
closed.bind(("127.0.0.1", 0))
with identity(f"credentials_endpoint: '127.0.0.1:{closed.getsockname()[1]}'"):
    broken("TCP")
closed.close()
with identity(f"credentials_endpoint: '127.0.0.1:{site.ports['http']}'"):
    broken("TLS")
with identity("credentials_endpoint: data-ats.iot.us-east-1.amazonaws.com"):
    broken("endpoint")
silent = socket.create_server(("127.0.0.1", 0))
with identity(f"credentials_endpoint: '127.0.0.1:{silent.getsockname()[1]}'"):
    broken("TCP", what="a port that is silent")
silent.close()
stranger = site.path("stranger")
openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj",
        "/CN=stranger", "-keyout", stranger + ".key", "-out", stranger + ".pem")
with Changed(config, good_config.replace(site.path("server/ca.pem"), stranger + ".pem")):
    broken("CA")


class Impostor:
    """A TLS server with a certificate of the true CA's, for another name."""

    def __enter__(self):
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=other",
                "-keyout", site.path("o.key"), "-out", site.path("o.csr"))
        with open(site.path("o.ext"), "w") as out:
            out.write("subjectAltName=DNS:other.example\n")
        openssl("x509", "-req", "-in", site.path("o.csr"), "-CA", site.path("server/ca.pem"), "-CAkey",
                site.path("server/ca.key"), "-CAcreateserial", "-days", "2", "-extfile", site.path("o.ext"), "-out",
                site.path("o.pem"))
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(site.path("o.pem"), site.path("o.key"))
        self.socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.serve, args=(context,), daemon=True).start()
        return self.socket.getsockname()[1]

    def serve(self, context):
        while True:
            try:
                connection, _ = self.socket.accept()
                context.wrap_socket(connection, server_side=True).close()
            except (OSError, ValueError):
                if self.socket.fileno() < 0:
                    return

    def __exit__(self, *_):
        self.socket.close()


with Impostor() as port, identity(f"credentials_endpoint: '127.0.0.1:{port}'"):
    broken("endpoint", what="another name")

# ---- the registry
iot.update_certificate(certificateId=cert_id, newStatus="INACTIVE")
assert "CA" in broken("certificate", "Certificate is invalid")
iot.update_certificate(certificateId=cert_id, newStatus="ACTIVE")
openssl("req", "-x509", "-key", key, "-subj", "/CN=gate", "-days", "9", "-out", site.path("foreign.pem"))
with Changed(certificate, open(site.path("foreign.pem")).read()):
    broken("certificate", what="a certificate the service does not know")
iot.detach_thing_principal(thingName="gate", principal=arn)
assert "certificate" in broken("thing", "Invalid thing name")
iot.delete_thing(thingName="gate")
broken("thing")
iot.create_thing(thingName="gate")
iot.attach_thing_principal(thingName="gate", principal=arn)
iot.detach_policy(policyName=POLICY, target=arn)
assert "thing" in broken("policy", "Access Denied")
iot.attach_policy(policyName=POLICY, target=arn)
iot.create_policy_version(policyName=POLICY, setAsDefault=True, policyDocument=json.dumps(
    {**documents, "Statement": documents["Statement"][1:]}))
broken("policy", what="a policy that does not allow the alias")
iot.set_default_policy_version(policyName=POLICY, policyVersionId="1")
iot.delete_role_alias(roleAlias=ALIAS)
assert "policy" in broken("alias", "does not exist")
arn_of_role = f"arn:aws:iam::{account}:role/{ROLE}"
iot.create_role_alias(roleAlias=ALIAS, roleArn=arn_of_role + "x")
assert "alias" in broken("role", what="a role that is not there")
iot.update_role_alias(roleAlias=ALIAS, roleArn=arn_of_role, credentialDurationSeconds=43200)
broken("role", "MaxSessionDuration")
iot.update_role_alias(roleAlias=ALIAS, credentialDurationSeconds=3600)
iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(trust).replace("credentials.iot", "ec2"))
broken("role", what="whom it trusts")
iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(trust))


# ---- video: the role's policy without one action after the other, and no stream
def without(*actions):
    document = json.loads(json.dumps(inline))
    statement = document["Statement"][0]
    statement["Action"] = [a for a in statement["Action"] if a.split(":")[1] not in actions]
    iam.put_role_policy(RoleName=ROLE, PolicyName="kvg-camera", PolicyDocument=json.dumps(document))


for actions, link in ((("DescribeStream",), "stream"), (("GetDataEndpoint",), "PutMedia"),
                      (("GetHLSStreamingSessionURL",), "playback"), (("PutMedia", "ListFragments"), "PutMedia")):
    without(*actions)
    assert "role" in broken(link, "not authorized" if link != "PutMedia" else "", what=actions)
without()
with Changed(config, good_config.replace(f"endpoint: {site.endpoint}", "endpoint: https://127.0.0.1:1")):
    assert "role" in broken("TCP", what="the endpoint of the streams")
stream = kvs.describe_stream(StreamName="gate")["StreamInfo"]
kvs.delete_stream(StreamARN=stream["StreamARN"])
broken("stream", "ResourceNotFound")
site.provision()

# ---- MQTT
with identity("mqtt_endpoint: '127.0.0.1:1'"):
    assert "playback" in broken("MQTT")
for statement, text in ((1, "refused"), (3, "subscribe")):
    iot.create_policy_version(policyName=POLICY, setAsDefault=True, policyDocument=json.dumps({
        **documents, "Statement": [s for i, s in enumerate(documents["Statement"]) if i != statement]}))
    broken("MQTT", text)
iot.set_default_policy_version(policyName=POLICY, policyVersionId="1")

gate = diagnose()
assert gate["healthy"], gate
print(f"{ways} ways to break the chain")
assert ways >= 25
