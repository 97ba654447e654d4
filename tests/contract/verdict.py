"""verdict.py CONTRACT METRICS USED  Fails if an operation never answered with a success, and names the exceptions of
exceptions.yaml that these runs did not need. METRICS are the server's after the runs, USED is written by hooks.py.
"""

import pathlib
import re
import sys

import yaml

contract, metrics, used = (pathlib.Path(name).read_text() for name in sys.argv[1:])
rules = yaml.safe_load((pathlib.Path(__file__).parent / "exceptions.yaml").read_text())

succeeded = {
    (method, route.replace(":id", "{id}"))
    for method, route in re.findall(r'^px360_http_request_seconds_count\{method="([A-Z]+)",route="([^"]+)",status="2\d\d"\}', metrics, re.M)
}
wrong = []
for path, item in yaml.safe_load(contract)["paths"].items():
    for method, operation in item.items():
        if (method.upper(), path) not in succeeded and operation["operationId"] not in rules["need_not_succeed"]:
            wrong.append(f"{operation['operationId']} never succeeded")
if wrong:
    sys.exit("\n".join(wrong))
needed = set(used.splitlines())
for rule in rules["refused_by_rule"]: # other seeds may need it
    if rule["message"] not in needed:
        print(f"not needed by this seed: {rule['message']}")
print(f"{len(succeeded)} operations answered with a success")
