"""AWS's own tools behind one call: boto3, the command line, and the SDK for JavaScript. Each gives
what it made of the response, and the bytes that came over the wire."""
import base64
import json
import os
import re
import subprocess
import sys

# GetMedia never ends; so much of it is read.
MEDIA_BYTES = 20000

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "e2e"))
import kvgtest  # noqa: E402

class Answer:
    def __init__(self, output=None, code=None, message=None, is_class=None, exchange=None):
        self.output, self.code, self.message = output, code, message
        self.is_class = is_class  # None: the tool has no class for it
        self.exchange = exchange


def plain(value):
    """Times as seconds, streams and bytes as bytes."""
    import datetime
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != "ResponseMetadata"}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not hasattr(value, "read"):
        return value
    data = value.read(MEDIA_BYTES)
    value.close()
    return data


class Boto3:
    name = "boto3"

    def __init__(self, site):
        self.site, self.clients, self.last = site, {}, None

    def close(self):
        pass

    def knows(self, service, operation, member=None):
        return known(service, operation, member)

    def client(self, service, credentials, endpoint):
        key = (service, credentials["id"], credentials["secret"], credentials.get("token"), endpoint)
        if key not in self.clients:
            import boto3
            import botocore.config
            session = boto3.session.Session(
                aws_access_key_id=credentials["id"], aws_secret_access_key=credentials["secret"],
                aws_session_token=credentials.get("token"), region_name=kvgtest.REGION)
            # What is wrong shall reach the server.
            self.clients[key] = session.client(
                service, endpoint_url=endpoint, verify=self.site.path("server/ca.pem"),
                config=botocore.config.Config(parameter_validation=False,
                                              retries={"total_max_attempts": 1}))
            self.record(self.clients[key]._endpoint.http_session)
        return self.clients[key]

    def record(self, session):
        send = session.send

        def recording(request):
            self.last = send(request)
            return self.last
        session.send = recording

    def exchange(self):
        # boto3 has read it already; of a stream the judge needs no byte.
        body = self.last._content if self.last._content is not None else b""
        return {"status": self.last.status_code, "headers": dict(self.last.headers),
                "body": base64.b64encode(body).decode()}

    def call(self, service, operation, arguments, credentials, endpoint):
        import botocore.exceptions
        client = self.client(service, credentials, endpoint)
        method = getattr(client, snake(operation))
        try:
            return Answer(output=plain(method(**arguments)), exchange=self.exchange())
        except botocore.exceptions.ClientError as error:
            code = error.response["Error"]["Code"]
            known_class = client.exceptions._code_to_exception.get(code)
            return Answer(code=code, message=error.response["Error"]["Message"],
                          is_class=known_class and isinstance(error, known_class),
                          exchange=self.exchange())


class Driver:
    """A process that answers one line with one line."""

    def __init__(self, words, environment):
        self.process = subprocess.Popen(words, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, env=environment)

    def ask(self, request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the driver ended"
        return json.loads(line)

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class CommandLine:
    name = "aws"

    def __init__(self, site):
        self.driver = Driver([sys.executable, os.path.join(HERE, "driver.py")],
                             dict(os.environ))
        self.site = site
        self.config = site.path("aws-config")
        with open(self.config, "w") as file:
            file.write("[default]\nparameter_validation = false\ncli_pager =\nmax_attempts = 1\n"
                       "cli_binary_format = raw-in-base64-out\n")

    def close(self):
        self.driver.close()

    def knows(self, service, operation, member=None):
        return known(service, operation, member)

    def call(self, service, operation, arguments, credentials, endpoint):
        sink = self.site.path("outfile")
        has_sink = operation in ("GetMedia", "GetMediaForFragmentList", "GetClip")
        words = [service, dashed(operation), *([sink] * has_sink), "--endpoint-url", endpoint, "--output", "json",
                 "--no-paginate"]
        if has_sink:  # beside a file for the output, the CLI insists on options
            for name, value in arguments.items():
                words += ["--" + dashed(name), value if isinstance(value, str) else json.dumps(value)]
        else:
            words += ["--cli-input-json", json.dumps(arguments)]
        environment = self.environment(credentials)
        if operation == "GetMedia":
            answer = self.watch(words, sink, environment)
        else:
            answer = self.driver.ask({"words": words, "environment": environment})
        if answer["status"] == 0:
            output = json.loads(answer["out"] or "{}")
            if has_sink:
                with open(sink, "rb") as file:
                    output["Payload"] = file.read()
            return Answer(output=output, exchange=answer["exchange"])
        found = re.search(r"An error occurred \((\S+)\) when calling the (\w+) operation(?: \([^)]*\))?: (.*)",
                          answer["err"], re.S)
        assert found and found.group(2) == operation, (words, answer)
        return Answer(code=found.group(1), message=found.group(3).strip(),
                      exchange=answer["exchange"])

    def watch(self, words, sink, environment):
        """As a command of its own, ended once it has written enough."""
        if os.path.exists(sink):
            os.unlink(sink)
        process = subprocess.Popen(["/usr/bin/aws", *words], env={**os.environ, **environment},
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def has_enough():
            return process.poll() is not None or \
                os.path.exists(sink) and os.path.getsize(sink) >= MEDIA_BYTES
        kvgtest.wait_for("media", has_enough)
        is_streaming = process.poll() is None
        process.terminate()
        out, err = process.communicate(timeout=30)
        return {"status": 0 if is_streaming else process.returncode, "exchange": None,
                "out": "" if is_streaming else out, "err": err}

    def environment(self, credentials):
        more = {"AWS_SESSION_TOKEN": credentials["token"]} if credentials.get("token") else {}
        return {"AWS_CONFIG_FILE": self.config, "AWS_ACCESS_KEY_ID": credentials["id"],
                "AWS_SECRET_ACCESS_KEY": credentials["secret"], "AWS_DEFAULT_REGION": kvgtest.REGION,
                "AWS_CA_BUNDLE": self.site.path("server/ca.pem"),
                "AWS_EC2_METADATA_DISABLED": "true", **more}


class JavaScript:
    name = "js"

    def __init__(self, site):
        self.driver = Driver(["node", os.path.join(HERE, "driver.mjs")],
                             dict(os.environ, NODE_EXTRA_CA_CERTS=site.path("server/ca.pem")))

    def close(self):
        self.driver.close()

    def knows(self, service, operation, member=None):
        return True

    def model(self, service, operation):
        return self.driver.ask({"describe": service, "operation": operation})["model"]

    def call(self, service, operation, arguments, credentials, endpoint):
        answer = self.driver.ask({"service": service, "operation": operation, "input": arguments,
                                  "credentials": credentials, "endpoint": endpoint,
                                  "region": kvgtest.REGION})
        error = answer.get("error")
        if error is None:
            return Answer(output=unpack(answer["output"]), exchange=answer["exchange"])
        assert error["status"] is not None, error
        return Answer(code=error["code"], message=error["message"], is_class=error["modelled"],
                      exchange=answer["exchange"])


def unpack(value):
    if isinstance(value, dict):
        if list(value) == ["bytes"]:
            return base64.b64decode(value["bytes"])
        return {key: unpack(item) for key, item in value.items()}
    return [unpack(item) for item in value] if isinstance(value, list) else value


def snake(name):
    from botocore import xform_name
    return xform_name(name)


def dashed(name):
    return snake(name).replace("_", "-")


models = {}


def service_model(service):
    if service not in models:
        import botocore.session
        models[service] = botocore.session.get_session().get_service_model(service)
    return models[service]


def known(service, operation, member=None):
    """Whether this botocore is new enough for the operation, and for the @member of its input."""
    model = service_model(service)
    if operation not in model.operation_names:
        return False
    return member is None or member in model.operation_model(operation).input_shape.members
