"""AWS's own tools against kvg-server: every row of every table through boto3, the AWS CLI and the SDK
for JavaScript, and each response against the service's model."""
import base64
import json
import os
import sys
import time

import tools
from tools import HERE, kvgtest
from judge import Judge, from_botocore

PATIENCE_S = 20

EDGE = {
    "HubDeviceArn": "arn:aws:iot:us-east-1:123456789012:thing/hub",
    "RecorderConfig": {
        "MediaSourceConfig": {
            "MediaUriSecretArn": "arn:aws:secretsmanager:us-east-1:123456789012:secret:camera",
            "MediaUriType": "RTSP_URI"},
        "ScheduleConfig": {"ScheduleExpression": "0 0 8-17 ? * MON-FRI *", "DurationInSeconds": 3600}},
    "UploaderConfig": {
        "ScheduleConfig": {"ScheduleExpression": "0 0 20 ? * * *", "DurationInSeconds": 60}},
    "DeletionConfig": {
        "EdgeRetentionInHours": 24, "DeleteAfterUpload": False,
        "LocalSizeConfig": {"MaxLocalMediaSizeInMB": 64, "StrategyOnFullSize": "DENY_NEW_MEDIA"}}}


def constants(prefix, endpoint):
    return {
        "p": prefix, "endpoint": endpoint, "edge": EDGE, "hub": EDGE["HubDeviceArn"],
        "n240": "n" * (256 - len(prefix)), "n257": "n" * 257,
        "tags49": {f"t{i}": "v" for i in range(49)}, "tags51": {f"t{i}": "v" for i in range(51)},
        "taglist50": [{"Key": f"t{i}", "Value": "v"} for i in range(50)],
        "longpolicy": json.dumps({"Statement": [{
            "Effect": "Allow", "Action": "s3:Get", "Resource": "arn:aws:s3:::" + "b" * 2100}]}),
    }


def fill_in(value, names):
    """${name} replaced, "$$" for "$"; a text that is nothing but ${name} becomes the value itself."""
    if isinstance(value, dict):
        return {key: fill_in(item, names) for key, item in value.items()}
    if isinstance(value, list):
        return [fill_in(item, names) for item in value]
    if not isinstance(value, str) or "$" not in value:
        return value
    if value[:2] == "${" and value[2:-1] in names and value[-1] == "}":
        return names[value[2:-1]]
    out = value.replace("$$", "\0")
    for name, text in names.items():
        if isinstance(text, str):
            out = out.replace("${" + name + "}", text)
    return out.replace("\0", "$")


def contains(whole, part):
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(
            key in whole and contains(whole[key], item) for key, item in part.items())
    return whole == part


def without_nulls(value):
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return value


def member(value, path):
    for name in path.split("."):
        value = value[name]
    return value


def fits(output, row, names):
    """What of the row's expectations of the output is not met; None if all is."""
    output = without_nulls(output)
    expected = fill_in(row.get("out", row.get("until", {})), names)
    if not contains(output, expected):
        return f"{output} does not contain {expected}"
    if "same" in row and output != fill_in(row["same"], names):
        return f"{output} is not {fill_in(row['same'], names)}"
    for name, size in row.get("size", {}).items():
        if len(member(output, name)) != size:
            return f"{len(member(output, name))} in {name}, not {size}"
    for name, least in row.get("bytes", {}).items():
        if len(member(output, name)) < least:
            return f"{len(member(output, name))} bytes in {name}, not {least}"
    for name in row.get("absent", []):
        if name in output:
            return f"{name} is there"
    return None


class Suite:
    def __init__(self):
        self.passed, self.failures, self.left_out = 0, [], {}
        self.called, self.raised = set(), set()
        self.models = {}

    def model_of(self, service, operation, javascript):
        """(output, errors with their status, protocol): botocore's, or for what the installed one does
        not know yet that of the JavaScript SDK, which does not say which errors there are."""
        key = (service, operation)
        if key not in self.models:
            model = tools.service_model(service)
            if operation in model.operation_names:
                own = model.operation_model(operation)
                errors = {shape.error_code: shape.metadata.get("error", {}).get("httpStatusCode")
                          for shape in own.error_shapes}
                output = from_botocore(own.output_shape) if own.output_shape else None
                # Values and members the JavaScript SDK knows are newer, not wrong.
                self.models[key] = output, errors, model.metadata["protocol"]
            else:
                self.models[key] = javascript.model(service, operation), None, "rest-json"
        return self.models[key]

    def judge(self, row, service, answer, javascript):
        if answer.exchange is None:  # a command of its own: the output was all there is to see
            return []
        output, errors, protocol = self.model_of(service, row["op"], javascript)
        if errors is None:
            errors = {answer.code: NEWER_ERRORS.get(answer.code)} if answer.code else {}
        judge = Judge(row["op"], output, errors, protocol)
        if answer.code is None:
            judge.check_output(answer.exchange)
        else:
            judge.check_error(answer.exchange, answer.code)
        return judge.problems

    def run_row(self, tool, row, service, state):
        names, endpoint, javascript = state["names"], state["endpoint"], state["javascript"]
        credentials = state["keys"][row.get("as", "administrator")]
        wanted = row.get("error") or row.get("until_error")
        end = time.monotonic() + PATIENCE_S
        for _ in range(row.get("times", 1000)):
            answer = tool.call(service, row["op"], fill_in(row["in"], names), credentials, endpoint)
            problem = None
            if answer.code != wanted:
                problem = f"{answer.code}: {answer.message}" if answer.code else \
                    f"no error, but {str(answer.output)[:200]}"
            elif answer.code is None:
                problem = fits(answer.output, row, names)
            # A GetMedia that the tool has left a moment ago may still count.
            is_repeated = "until" in row or "until_error" in row or \
                answer.code == "ConnectionLimitExceededException"
            if problem is None or not is_repeated or time.monotonic() > end:
                break
            if "times" not in row:
                time.sleep(0.1)
        problems = [problem] if problem else []
        if not problem and wanted:
            if fill_in(row.get("msg", ""), names) not in (answer.message or ""):
                problems.append(f"message {answer.message!r}")
            if answer.is_class is False:
                problems.append(f"the tool has a class for {wanted} and does not raise it")
        if not problem:
            problems += self.judge(row, service, answer, javascript)
            for name, path in row.get("save", {}).items():
                names[name] = member(answer.output, path)
            if "become" in row:
                keys = answer.output.get("AccessKey") or answer.output["Credentials"]
                state["keys"][row["become"]] = {"id": keys["AccessKeyId"],
                                                "secret": keys["SecretAccessKey"],
                                                "token": keys.get("SessionToken")}
            self.called.add((service, row["op"]))
            self.raised.add((service, row["op"], wanted))
        return problems

    def run_table(self, tool, table, state):
        for row in table["rows"]:
            service = row.get("service", table["service"])
            needs = row.get("needs", ".").split(".")[1] or None
            label = f"{tool.name}: {row['id']}"
            reason = row.get("left_out", {}).get(tool.name)
            if reason:
                self.left_out.setdefault(f"{tool.name}: {reason}", []).append(row["id"])
                continue
            if not tool.knows(service, row["op"], needs):
                why = f"{row['op']}{'.' + needs if needs else ''}"
                self.left_out.setdefault(f"{tool.name} does not know {why} yet", []).append(row["id"])
                continue
            try:
                problems = self.run_row(tool, row, service, state)
            except Exception as error:  # the row's failure, not the suite's end
                problems = [f"{type(error).__name__}: {error}"]
            if problems:
                self.failures.append(label)
                for problem in problems:
                    print(f"not ok {label}: {problem}")
            else:
                self.passed += 1


# Of operations newer than the installed botocore.
NEWER_ERRORS = {"InvalidArgumentException": 400, "ResourceNotFoundException": 404,
                "StreamEdgeConfigurationNotFoundException": 404, "ResourceInUseException": 400,
                "NoDataRetentionException": 400, "VersionMismatchException": 400,
                "ClientLimitExceededException": 400}


def load(name):
    with open(os.path.join(HERE, name + ".json"), encoding="utf-8") as file:
        return json.load(file)


def start(**options):
    site = kvgtest.Site()
    for name, value in options.items():
        site.environment["KVG_SERVER_" + name] = value
    site.start_server()
    return site


def put_fragment(site, stream, codec, private):
    from putmedia import Upload, block, cluster, ebml, element, info, number, tracks, unknown
    entry = element("ae", number("d7", 1, 1) + number("73c5", 1, 8) + number("83", 1, 1) +
                    element("86", codec) + element("e0", number("b0", 64, 2) + number("ba", 64, 2)) +
                    (element("63a2", private) if private else b""))
    upload = Upload(site, stream)
    upload.send(ebml() + unknown("18538067") + info() + tracks(entry) +
                cluster(int(time.time() * 1000) - 5000, block(), block(at=900)))
    upload.finish()


def with_media(site, state):
    """Streams with video in them, and somebody without rights."""
    import recording
    prefix, kvs = state["names"]["p"], site.client("kinesisvideo")
    for name, hours in (("cam", 24), ("empty", 24), ("forgetful", 0), ("vp9", 24), ("bare", 24),
                        ("annexb", 24)):
        kvs.create_stream(StreamName=prefix + name, DataRetentionInHours=hours)
    start_s = int(time.time()) - 10
    film = recording.Recording(site.folder, recording.h264(), recording.sound())
    put = int(time.time())
    numbers = film.put(site, prefix + "cam", start_s * 1000)
    put_fragment(site, prefix + "vp9", b"V_VP9", None)
    put_fragment(site, prefix + "bare", b"V_MPEG4/ISO/AVC", None)
    put_fragment(site, prefix + "annexb", b"V_MPEG4/ISO/AVC", b"\0\0\0\1\x67\x4d\x40\x1f" * 4)
    time.sleep(1.1)  # boto3 sends whole seconds, and a range ends in the past
    state["names"].update(
        first=numbers[0], second=numbers[1], put=put, start=start_s, start2=start_s + 2,
        arn=kvs.describe_stream(StreamName=prefix + "cam")["StreamInfo"]["StreamARN"],
        range={"FragmentSelectorType": "SERVER_TIMESTAMP",
               "TimestampRange": {"StartTimestamp": put - 60, "EndTimestamp": int(time.time())}})
    iam = site.client("iam")
    iam.create_user(UserName=prefix + "nobody")
    keys = iam.create_access_key(UserName=prefix + "nobody")["AccessKey"]
    state["keys"]["nobody"] = {"id": keys["AccessKeyId"], "secret": keys["SecretAccessKey"]}


def keys_of(site):
    own = site.administrator()
    administrator = {"id": own["aws_access_key_id"], "secret": own["aws_secret_access_key"]}
    return {"administrator": administrator,
            "wrong secret": {**administrator, "secret": "x" * 40},
            "unknown key": {"id": "AKIAAAAAAAAAAAAAAAAA", "secret": "x" * 40},
            "forged token": {"id": "ASIAAAAAAAAAAAAAAAAA", "secret": "x" * 40, "token": "A" * 400}}


def check_the_judge():
    """A judge that never complains would let everything pass."""
    def problems(status, headers, body, code=None):
        own = tools.service_model("kinesisvideo").operation_model("DescribeStream")
        errors = {shape.error_code: shape.metadata["error"]["httpStatusCode"]
                  for shape in own.error_shapes}
        judge = Judge("DescribeStream", from_botocore(own.output_shape), errors, "rest-json")
        exchange = {"status": status, "headers": headers,
                    "body": base64.b64encode(json.dumps(body).encode()).decode()}
        judge.check_error(exchange, code) if code else judge.check_output(exchange)
        return len(judge.problems)

    good = {"x-amzn-RequestId": "1", "Content-Type": "application/json"}
    info = {"StreamName": "a", "Status": "ACTIVE", "CreationTime": 1.5e9}
    assert problems(200, good, {"StreamInfo": info}) == 0
    assert problems(200, {}, {"StreamInfo": info}) == 2
    assert problems(200, good, {"StreamInfo": {**info, "Color": "red"}}) == 1
    assert problems(200, good, {"StreamInfo": {**info, "Status": "READY"}}) == 1
    assert problems(200, good, {"StreamInfo": {**info, "CreationTime": "today"}}) == 1
    assert problems(200, good, {"StreamInfo": {**info, "StreamName": "a b"}}) == 1
    assert problems(200, good, {"StreamInfo": []}) == 1
    lost = {**good, "x-amzn-ErrorType": "ResourceNotFoundException"}
    assert problems(404, lost, {"Message": "no"}, "ResourceNotFoundException") == 0
    assert problems(400, lost, {"Message": "no"}, "ResourceNotFoundException") == 1
    assert problems(404, good, {"Message": "no"}, "ResourceNotFoundException") == 1
    assert problems(404, lost, {"text": "no"}, "ResourceNotFoundException") == 1
    assert problems(400, lost, {"Message": "no"}, "NoDataRetentionException") == 2


def main():
    check_the_judge()
    suite = Suite()
    plan = [(start(), ["kinesisvideo", "iam", "iot", "media"]),
            (start(CHANGE_TIME="6s"), ["lifecycle"]),
            (start(MAX_STREAMS="2", CALL_RATES="1"), ["quotas"])]
    for site, tables in plan:
        javascript = tools.JavaScript(site)
        all_tools = [tools.Boto3(site), tools.CommandLine(site), javascript]
        for tool in all_tools:
            for table in tables:
                prefix = f"{tool.name}-"
                state = {"names": constants(prefix, site.endpoint), "keys": keys_of(site),
                         "endpoint": site.endpoint, "javascript": javascript}
                if table == "media":
                    with_media(site, state)
                began = time.monotonic()
                suite.run_table(tool, load(table), state)
                print(f"# {tool.name} {table}: {time.monotonic() - began:.1f} s")
        for tool in all_tools:
            tool.close()
        assert site.server.stop() == 0
    for why, rows in suite.left_out.items():
        print(f"# left out, {why}: {', '.join(rows)}")
    print(f"# {len(suite.called)} operations, "
          f"{len([1 for raised in suite.raised if raised[2]])} errors of them")
    print(f"{suite.passed} rows passed, {len(suite.failures)} failed")
    return 1 if suite.failures else 0


if __name__ == "__main__":
    sys.exit(main())
