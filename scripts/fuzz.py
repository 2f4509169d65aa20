#!/usr/bin/env python3
"""The JSON Schema validator against jsonschema-rs: `make fuzz`.

    fuzz.py [--comparisons N] [--seed N] [--formats]

Random schemas of all keywords in the three drafts, random instances, and both validators' verdicts on
each. The program under test speaks Bowtie's protocol (`tailrace schema bowtie`), and judges every
value twice itself, on BSON and on JSON. A disagreement is made smaller and printed; exit code 1.

In draft 2019-09 no schema has both `contains` and `unevaluatedItems`: that draft does not list `contains`
among what evaluates items, and jsonschema-rs takes it so nevertheless.

What is left out, because it is no matter of the specification or no BSON type holds it: numbers
beyond 2^53 and 15 digits, patterns that Rust's regular expressions read differently, and formats unless
--formats is given (then those that both check by the same RFCs).
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time

import fetch

if __name__ == "__main__":
    fetch.use_venv()

import jsonschema_rs  # noqa: E402

BINARY = os.environ.get("TAILRACE_BINARY", fetch.ROOT / ".build" / "release" / "tailrace")
DRAFTS = {
    7: ("http://json-schema.org/draft-07/schema#", jsonschema_rs.Draft7Validator),
    2019: ("https://json-schema.org/draft/2019-09/schema", jsonschema_rs.Draft201909Validator),
    2020: ("https://json-schema.org/draft/2020-12/schema", jsonschema_rs.Draft202012Validator),
}
KEYS = ["a", "b", "c", "foo", "ä", "a b", "x-1", ""]
TEXTS = ["", "a", "b", "ab", "foo", "ä", "\U0001F600", "a b", "1", "aaa", "\n", "2024-01-01"]
PATTERNS = ["^a", "b$", "^[a-c]+$", "^.{2,3}$", "o{2}", "^(foo|ab)?$", "[0-9]", "^$", "^x-", "ä"]
NUMBERS = [0, 1, 2, 3, -1, 5, 10, 0.5, 1.0, 1.5, -2.5, 0.1, 0.3, 2.0, 100, 1e3, 7.25, 9007199254740991]
DIVISORS = [1, 2, 3, 0.5, 0.1, 1.5, 0.01, 10]
FORMATS = ["date-time", "date", "time", "email", "hostname", "ipv4", "ipv6", "uuid", "uri",
           "uri-reference", "json-pointer", "regex", "duration"]
FORMATTED = ["2024-02-29T12:00:00Z", "2023-02-29", "12:00:60Z", "23:59:60Z", "a@b.c", "a@@b", "x.y",
             "-x.y", "1.2.3.4", "01.2.3.4", "::1", "1::2::3", "urn:x:y", "http://[::1]/", "a b", "/a~0",
             "/a~2", "~", "[a", "P1D", "P", "PT1M", "00000000-0000-0000-0000-00000000000g",
             "123e4567-e89b-12d3-a456-426614174000", "2024-13-01", "24:00:00Z", "%zz", "\\"]


class Generator:
    def __init__(self, seed, formats):
        self.dice = random.Random(seed)
        self.formats = formats

    # --- instances ---

    def value(self, depth=0):
        d, kind = self.dice, self.dice.random()
        if depth > 2 or kind < 0.5:
            return d.choice([
                lambda: d.choice(NUMBERS), lambda: d.choice(NUMBERS), lambda: d.choice(TEXTS),
                lambda: d.choice(FORMATTED if self.formats else TEXTS),
                lambda: d.choice([True, False, None])])()
        if kind < 0.75:
            return [self.value(depth + 1) for _ in range(d.randrange(5))]
        return {key: self.value(depth + 1) for key in d.sample(KEYS, d.randrange(5))}

    def mutated(self, value):
        """Near a value that is known to matter."""
        d = self.dice
        if isinstance(value, dict) and value and d.random() < 0.7:
            copy = dict(value)
            key = d.choice(list(copy))
            if d.random() < 0.3:
                del copy[key]
            else:
                copy[key] = self.mutated(copy[key])
            return copy
        if isinstance(value, list) and value and d.random() < 0.7:
            copy = list(value)
            at = d.randrange(len(copy))
            if d.random() < 0.3:
                del copy[at]
            else:
                copy[at] = self.mutated(copy[at])
            return copy
        return self.value(1)

    # --- schemas ---

    def case(self, draft, instances):
        self.draft = draft
        self.definitions = 0 if self.dice.random() < 0.5 else self.dice.randrange(1, 4)
        self.contains = draft != 2019 or self.dice.random() < 0.5
        self.present = -1
        root = self.schema(0)
        if not isinstance(root, dict):
            root = {"allOf": [root]}
        self.dynamic = draft == 2020 and self.dice.random() < 0.2
        if self.dynamic:
            root["$dynamicAnchor"] = "node"
        if self.definitions:
            name = "$defs" if draft >= 2019 else "definitions"
            root[name] = {}
            for number in range(self.definitions):
                self.present = number
                root[name][f"d{number}"] = self.schema(1)
        root = {"$schema": DRAFTS[draft][0], **root}
        values = []
        for _ in range(instances):
            values.append(self.mutated(self.dice.choice(values))
                          if values and self.dice.random() < 0.4 else self.value())
        return root, values

    def reference(self, inner):
        """To a definition; one that was met already only from within a value."""
        names = range(self.definitions) if inner else range(self.present + 1, self.definitions)
        if not names:
            return None
        name = "$defs" if self.draft >= 2019 else "definitions"
        return f"#/{name}/d{self.dice.choice(list(names))}"

    def schema(self, depth, inner=False):
        d = self.dice
        if depth > 3 or d.random() < 0.08:
            return d.choice([True, False, {}, {"type": "string"}, {"type": "integer"}])
        found = {}
        for _ in range(d.choice([1, 1, 2, 2, 3, 4])):
            found.update(self.keyword(depth, inner))
        return found

    def many(self, depth, inner=False):
        return [self.schema(depth + 1, inner) for _ in range(self.dice.randrange(1, 4))]

    def keyword(self, depth, inner):
        d = self.dice

        def sub(within=True):
            return self.schema(depth + 1, inner or within)

        choices = [
            lambda: {"type": d.choice(["string", "number", "integer", "object", "array", "boolean",
                                       "null", ["string", "integer"], ["object", "null"]])},
            lambda: {"enum": [self.value(1) for _ in range(d.randrange(1, 4))]},
            lambda: {"const": self.value(1)},
            lambda: {"multipleOf": d.choice(DIVISORS)},
            lambda: {d.choice(["maximum", "minimum", "exclusiveMaximum", "exclusiveMinimum"]):
                     d.choice(NUMBERS)},
            lambda: {d.choice(["maxLength", "minLength"]): d.randrange(4)},
            lambda: {"pattern": d.choice(PATTERNS)},
            lambda: {d.choice(["maxItems", "minItems", "maxProperties", "minProperties"]):
                     d.randrange(4)},
            lambda: {"uniqueItems": d.choice([True, True, False])},
            lambda: {"required": d.sample(KEYS, d.randrange(3))},
            lambda: {"properties": {key: sub() for key in d.sample(KEYS, d.randrange(1, 4))}},
            lambda: {"patternProperties": {d.choice(PATTERNS): sub()}},
            lambda: {"additionalProperties": sub()},
            lambda: {"propertyNames": sub()},
            lambda: {"items": sub()},
            lambda: {d.choice(["allOf", "anyOf", "oneOf"]): self.many(depth, inner)},
            lambda: {"not": sub(False)},
            lambda: {"if": sub(False), "then": sub(False), "else": sub(False)},
            lambda: {"if": sub(False), d.choice(["then", "else"]): sub(False)},
        ]
        if self.draft == 7:
            choices += [lambda: {"dependencies": {d.choice(KEYS): d.choice(
                [lambda: sub(False), lambda: d.sample(KEYS, 2)])()}}]
        else:
            choices += [
                lambda: {"dependentRequired": {d.choice(KEYS): d.sample(KEYS, 2)}},
                lambda: {"dependentSchemas": {d.choice(KEYS): sub(False)}},
                lambda: {"unevaluatedProperties": sub()},
            ]
            if self.contains:
                choices += [lambda: {"contains": sub(), d.choice(["minContains", "maxContains"]):
                                     d.randrange(3)}]
        if self.contains:
            choices += [lambda: {"contains": sub()}]
        if self.draft == 2020 or self.draft == 2019 and not self.contains:
            choices += [lambda: {"unevaluatedItems": sub()}]
        if self.draft == 2020:
            choices += [lambda: {"prefixItems": self.many(depth, True)},
                        lambda: {"prefixItems": self.many(depth, True), "items": sub()}]
        else:
            choices += [lambda: {"items": self.many(depth, True)},
                        lambda: {"items": self.many(depth, True), "additionalItems": sub()}]
        if self.formats:
            choices += [lambda: {"format": d.choice(FORMATS)}] * 6
        reference = self.reference(inner)
        if reference:
            choices += [lambda: {"$ref": reference}] * 3
        if inner and depth > 0:
            choices += [lambda: {"$ref": "#"}]
            if self.draft == 2019:
                choices += [lambda: {"$recursiveRef": "#"}]
        return d.choice(choices)()


class Tailrace:
    def __init__(self, formats):
        self.process = subprocess.Popen(
            [BINARY, "schema", "bowtie", *(["--formats"] if formats else [])], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.seq = 0
        assert "implementation" in self.ask({"cmd": "start", "version": 1})
        self.dialect = None

    def ask(self, command):
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"tailrace ended with {self.process.wait()} at {command}")
        return json.loads(line)

    def verdicts(self, draft, schema, values):
        """A verdict for each value; a text where something went wrong."""
        if draft != self.dialect:
            assert self.ask({"cmd": "dialect", "dialect": DRAFTS[draft][0]})["ok"]
            self.dialect = draft
        self.seq += 1
        answer = self.ask({"cmd": "run", "seq": self.seq, "case": {
            "description": "", "schema": schema,
            "tests": [{"description": "", "instance": value} for value in values]}})
        if answer.get("errored"):
            return [answer["context"]["message"]] * len(values)
        return [result.get("valid", result.get("context", {}).get("message"))
                for result in answer["results"]]

    def close(self):
        self.process.stdin.write('{"cmd":"stop"}\n')
        self.process.stdin.close()
        return self.process.wait(10)


def theirs(draft, schema, values, formats):
    try:
        validator = DRAFTS[draft][1](schema, validate_formats=formats)
    except Exception as problem:  # it can't be compiled
        return [f"{problem}"] * len(values)
    return [validator.is_valid(value) for value in values]


def disagree(tailrace, draft, schema, value, formats):
    ours = tailrace.verdicts(draft, schema, [value])[0]
    other = theirs(draft, schema, [value], formats)[0]
    if isinstance(ours, str) and isinstance(other, str):
        return None
    return None if ours == other else (ours, other)


def smaller(value):
    """Values with one part less."""
    if isinstance(value, dict):
        for key in value:
            yield {k: v for k, v in value.items() if k != key}
            for inner in smaller(value[key]):
                yield {**value, key: inner}
    elif isinstance(value, list):
        for at in range(len(value)):
            yield value[:at] + value[at + 1:]
            for inner in smaller(value[at]):
                yield value[:at] + [inner] + value[at + 1:]


def shrink(tailrace, draft, schema, value, formats):
    kind = [type(one) for one in disagree(tailrace, draft, schema, value, formats)]

    def still(schema, value):
        verdicts = disagree(tailrace, draft, schema, value, formats)
        return verdicts and [type(one) for one in verdicts] == kind

    goes_on = True
    while goes_on:
        goes_on = False
        for candidate in smaller(schema):
            if candidate.get("$schema") and still(candidate, value):
                schema, goes_on = candidate, True
                break
        for candidate in smaller(value):
            if still(schema, candidate):
                value, goes_on = candidate, True
                break
    return schema, value, disagree(tailrace, draft, schema, value, formats)


def compare(comparisons, seed, formats, instances=40):
    """(comparisons made, valid ones among them, disagreements)."""
    generator = Generator(seed, formats)
    tailrace = Tailrace(formats)
    made = valid = 0
    found = []
    while made < comparisons and len(found) < 5:
        draft = generator.dice.choice(list(DRAFTS))
        schema, values = generator.case(draft, instances)
        ours = tailrace.verdicts(draft, schema, values)
        others = theirs(draft, schema, values, formats)
        if isinstance(ours[0], str) and isinstance(others[0], str):
            continue
        made += len(values)
        valid += sum(verdict is True for verdict in ours)
        for value, one, other in zip(values, ours, others):
            if one != other:
                found.append((draft, *shrink(tailrace, draft, schema, value, formats)))
                break
    assert tailrace.close() == 0
    return made, valid, found


def main():
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comparisons", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--formats", action="store_true")
    options = parser.parse_args()
    began = time.monotonic()
    made, valid, found = compare(options.comparisons, options.seed, options.formats)
    for draft, schema, value, verdicts in found:
        print(f"draft {draft}: tailrace {verdicts and verdicts[0]}, jsonschema-rs "
              f"{verdicts and verdicts[1]}\n  schema   {json.dumps(schema, ensure_ascii=False)}\n"
              f"  instance {json.dumps(value, ensure_ascii=False)}")
    print(f"{'FAIL' if found else 'PASS'}: seed {options.seed}, {made:,} comparisons, {valid:,} valid, "
          f"{len(found)} disagreements, {time.monotonic() - began:.0f} s")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
