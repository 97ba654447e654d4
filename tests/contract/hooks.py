"""Hooks of Schemathesis: real secrets for the examples, and the exceptions of exceptions.yaml.

Environment: SERVER_URL; PX360_ADMIN_PASSWORD, which every user of the runs has; KEPT_USERS, the ids of these users; EXCEPTIONS_USED, the
file to which the exceptions that were needed are written.
"""

import atexit
import os
import pathlib
import re
import uuid

import requests
import schemathesis
import yaml

PARAMETERS = yaml.safe_load((pathlib.Path(__file__).parents[2] / "openapi" / "openapi.yaml").read_text())["components"]["parameters"]
RULES = yaml.safe_load((pathlib.Path(__file__).parent / "exceptions.yaml").read_text())
EXAMPLES = "0193c5a0-7a00-7000-8000-0000000000"  # the ids of the examples' objects
EXAMPLES_USER = EXAMPLES + "03"
kept_users = os.environ["KEPT_USERS"].split()
used = set()


def write_used():
    with open(os.environ["EXCEPTIONS_USED"], "a") as file:
        file.writelines(f"{message}\n" for message in used)


atexit.register(write_used)


def tokens():
    """Of a user of its own, because blacklisting a refresh token ends all tokens of its user."""
    login = {"username": "token_owner", "password": os.environ["PX360_ADMIN_PASSWORD"]}
    return requests.post(os.environ["SERVER_URL"] + "/api/auth/token/", json=login, timeout=30).json()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Puts real secrets in the place of those of the examples, and keeps the users of the runs and the examples' objects."""
    if case.operation.path.startswith("/api/auth/token/") and isinstance(case.body, dict):
        for name, value in case.operation.definition.raw["requestBody"]["content"]["application/json"]["example"].items():
            if name != "username" and case.body.get(name) == value:
                case.body[name] = os.environ["PX360_ADMIN_PASSWORD"] if name == "password" else tokens()["refresh"]
    target = case.path_parameters.get("id")
    if case.method != "GET" and case.operation.path.startswith("/api/auth/users/{id}/") and target in kept_users:
        case.path_parameters["id"] = target = EXAMPLES_USER
    if case.method == "DELETE" and str(target).startswith(EXAMPLES):
        case.path_parameters["id"] = str(uuid.uuid4())


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Drops failures that exceptions.yaml expects."""
    if response.status_code in RULES["url_too_long"] and len(response.request.url) > 8000:
        return False
    return not (failure.code == "ST202" and refused_by_rule(case, response) or failure.code == "ST201" and accepted(failure, case))


def refused_by_rule(case, response):
    if response.status_code != 400 or "Valid by schema, but refused by rule" not in description(case.operation.definition.raw):
        return False
    if case.operation.definition.raw["operationId"] in RULES["items_apart"] and response.json().get("failed"):
        return True
    needed = [rule_of(message) for message in texts(response.json())]
    if not needed or None in needed:
        return False
    used.update(needed)
    return True


def description(operation):
    """What the contract says of an operation and of the parameters that it shares with others."""
    shared = [PARAMETERS[parameter["$ref"].rsplit("/", 1)[1]] for parameter in operation.get("parameters", []) if "$ref" in parameter]
    return "\n".join([operation["description"]] + [parameter.get("description", "") for parameter in shared])


def rule_of(message):
    return next((rule["message"] for rule in RULES["refused_by_rule"] if re.fullmatch(rule["message"], message)), None)


def texts(answer):
    """All texts in an answer, at any depth."""
    if isinstance(answer, str):
        return [answer]
    return [text for part in (answer.values() if isinstance(answer, dict) else answer if isinstance(answer, list) else []) for text in texts(part)]


def accepted(failure, case):
    """Whether the value that breaks the schema is one that stands for none."""
    broken = re.search(r"in body - ([a-z_]+): Value not matching the '(email|uri|uuid)' format", failure.message)
    return bool(broken) and isinstance(case.body, dict) and case.body.get(broken[1]) in [rule["value"] for rule in RULES["accepted"]]
