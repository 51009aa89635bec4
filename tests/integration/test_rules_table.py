"""What `bulkhead check` says of rule files that are broken or doubtful.

Each row is a folder: a main file that holds HEAD and the row's text, and the files of rules.d/ that
it includes. "§" marks where a message must point, in the order of the messages; the marks are taken
out before the file is written. A message is told by its severity, by what it says is wrong, and by
what it says would be right: no row may lack the latter.
"""

import json

import pytest

from harness.bulkhead import run_command

HEAD = """\
version: 1
identity: {files: {certificate: CERTS/orders.pem, private_key: CERTS/orders.key}}
trust:
  prod.example: {bundle: CERTS/prod.example.bundle.pem}
  partner.example: {bundle: CERTS/partner.example.bundle.pem}
listeners:
  - {name: orders, accept: "mtls://127.0.0.1:8443", forward: "tcp://127.0.0.1:8080"}
  - {name: stock, accept: "mtls://127.0.0.1:8444", forward: "tcp://127.0.0.1:8081"}
  - {name: out, accept: "tcp://127.0.0.1:9001", forward: "mtls://pay.svc:8443",
     expect: spiffe://prod.example/ns/shop/sa/pay}
"""

# What a good file ends with; rows replace it.
RULES = """\
rules:
  - {name: web, from: spiffe://prod.example/ns/shop/sa/web, to: [orders, stock]}
"""

ERROR, WARNING, NOTE = "error", "warning", "note"


class Row:
    def __init__(self, name, text, *messages, files=None, options=(), head=HEAD):
        self.name = name
        self.files = {"bulkhead.yaml": head + text, **(files or {})}
        self.messages = messages  # (severity, wrong, right)
        self.options = options


def rule(text, to="[orders, stock]"):
    """One rule with the members of `from`."""
    return f"rules:\n  - name: web\n    to: {to}\n    from:\n      - {text}\n"


def more(text):
    """A second rule beside a good one."""
    return f"{RULES}  - {{name: more, {text}}}\n"


def included(name, texts, *messages, main=RULES):
    """A row with a file in rules.d/ for each text, and a main file that includes them."""
    files = {f"rules.d/{i}.yaml": text for i, text in enumerate(texts)}
    return Row(name, f"include: rules.d/*.yaml\n{main}", *messages, files=files)


def pattern(name, text, wrong, right):
    return Row(f"pattern-{name}", rule(text), (ERROR, wrong, right))


PATTERNS = [
    pattern("part-of-a-segment", "§spiffe://prod.example/ns/shop/sa/web-*",
            'rules[0].from[0]: "spiffe://prod.example/ns/shop/sa/web-*": `*` stands for',
            "exactly one whole segment, not for a part of one"),
    pattern("double-star-inside", "§spiffe://prod.example/ns/**/sa/web", "`**` stands only at the end",
            "`*` is one segment in the middle of a path"),
    pattern("star-in-the-domain", "§spiffe://*.example/ns/shop", "no pattern in a trust domain",
            "write one entry for each trust domain"),
    pattern("star-for-the-domain", "§spiffe://*/ns/shop", "no pattern in a trust domain",
            "write one entry for each trust domain"),
    pattern("everybody", '§"*"', "nothing stands for every ID",
            "spiffe://TRUST-DOMAIN/** is every ID of one trust domain"),
    pattern("all", "§all", "nothing stands for every ID",
            "spiffe://TRUST-DOMAIN/** is every ID of one trust domain"),
    pattern("without-quotes", "§*", '"*"', "must be quoted"),
    pattern("without-a-path", "§spiffe://prod.example", "an ID of a workload has a path",
            "spiffe://TRUST-DOMAIN/** admits the whole trust domain"),
    pattern("slash-at-the-end", "§spiffe://prod.example/ns/shop/", '"spiffe://prod.example/ns/shop/"',
            "leave out the slash at the end"),
    pattern("two-slashes", "§spiffe://prod.example/ns//shop", "empty segment",
            "write one slash, not two"),
    pattern("dots", "§spiffe://prod.example/ns/../shop", 'a "." or ".." segment',
            "write the path that is meant"),
    pattern("upper-case-domain", "§spiffe://Prod.example/ns/shop", "upper case", "in lower case"),
    pattern("upper-case-scheme", "§SPIFFE://prod.example/ns/shop", "the scheme is written in",
            "lower case: spiffe://"),
    pattern("percent", "§spiffe://prod.example/ns/sh%6fp", "percent-encoding is not part",
            "write the characters themselves"),
    pattern("regex", '§"spiffe://prod.example/ns/(a|b)"', '"spiffe://prod.example/ns/(a|b)"',
            "a segment is made of letters, digits"),
    pattern("without-the-scheme", "§prod.example/ns/shop", '"prod.example/ns/shop"',
            "write the ID in full: spiffe://prod.example/ns/shop"),
    pattern("one-slash", "§spiffe:/prod.example/ns/shop", "must start with",
            'start with "spiffe://"'),
    pattern("a-name", "§storefront", '"storefront"', "write the ID in full"),
    pattern("empty", "§''", "rules[0].from[0]: must not", "be empty"),
    Row("pattern-nothing", "rules:\n  - name: web\n    to: [orders, stock]\n    from:\n      -§\n",
        (ERROR, "rules[0].from[0]: has no value", "write text or leave the key out")),
    pattern("a-map", "§{id: x}", "rules[0].from[0]: must be text", "not a map"),
]

VARIABLES = [
    Row("variable-unknown-with-a-near-one",
        "variables: {prod: prod.example}\n" + rule(
            "spiffe://${prod}/a\n      - §spiffe://${prd}/b"),
        (ERROR, 'rules[0].from[1]: "spiffe://${prd}/b": unknown variable "prd"',
         'did you mean "${prod}"?')),
    Row("variable-unknown", rule("§spiffe://${prod}/b"),
        (ERROR, 'unknown variable "prod"', "in `variables` of the main file or by --var prod=...")),
    Row("variable-in-a-path", "variables: {ns: shop}\n" + rule("§spiffe://prod.example/${ns}/a"),
        (ERROR, "a variable stands for a whole trust domain", "write spiffe://${name}/...")),
    Row("variable-beside-text", "variables: {env: prod}\n" + rule("§spiffe://${env}.example/a"),
        (ERROR, "a variable stands for a whole trust domain", "write spiffe://${name}/...")),
    Row("variables-two", "variables: {a: prod, b: example}\n" + rule("§spiffe://${a}${b}/a"),
        (ERROR, "a variable stands for a whole trust domain", "write spiffe://${name}/...")),
    Row("variable-like-in-a-shell", "variables: {prod: prod.example}\n" + rule("§spiffe://$prod/a"),
        (ERROR, '"$" begins a variable', "write spiffe://${name}/...")),
    Row("variable-not-closed", "variables: {prod: prod.example}\n" + rule("§spiffe://${prod/a"),
        (ERROR, '"${" lacks its "}"', "write spiffe://${name}/...")),
    Row("variable-in-brackets-without-quotes",
        "rules: [{name: web, to: orders, from: [spiffe://$§{prod}/a]}]\n",
        (ERROR, "quote what holds a variable", '"spiffe://${name}/..."')),
    Row("variable-that-is-no-domain",
        "variables:\n  prod: §Prod.Example\n" + rule("spiffe://${prod}/a"),
        (ERROR, 'variables.prod: "Prod.Example": must be a trust domain', "1 to 255 of a-z, 0-9")),
    Row("variable-with-a-scheme",
        "variables:\n  prod: §spiffe://prod.example\n" + rule("spiffe://${prod}/a"),
        (ERROR, "write the trust domain alone", "without spiffe://")),
    Row("variable-of-a-variable",
        "variables:\n  a: prod.example\n  b: §${a}\n" + rule("spiffe://${b}/a"),
        (ERROR, "a variable is not made of another", "write the trust domain itself")),
    Row("variable-unused", "variables:\n  §prod: prod.example\n" + RULES,
        (WARNING, "variables.prod: nothing uses it", 'there is no "${prod}"')),
    Row("variable-of-the-command-line-unused", RULES,
        (WARNING, "--var prod: nothing uses it", 'there is no "${prod}"'),
        options=["--var", "prod=prod.example"]),
    Row("variable-of-the-command-line-that-is-no-domain", rule("spiffe://${prod}/a"),
        (ERROR, '--var prod: "prod example": must be a trust domain', "1 to 255 of a-z"),
        options=["--var", "prod=prod example"]),
    Row("variable-in-the-name-of-a-file", "quarantine_file: §/etc/${prod}.list\n" + RULES,
        (ERROR, 'quarantine_file: "/etc/${prod}.list" holds a variable', "write it out")),
    Row("variable-in-include", "include: §${prod}/*.yaml\n" + RULES,
        (ERROR, 'include: "${prod}/*.yaml" holds a variable', "write it out")),
    Row("variable-in-a-group's-reference", "variables: {a: x}\n" + rule("§group:${a}"),
        (ERROR, "a variable stands for a whole trust domain", "write spiffe://${name}/...")),
    Row("variable-for-a-domain-that-stands-twice", RULES,
        (ERROR, 'trust: "partner.example" stands on line 5 already', "a trust domain has one bundle"),
        head=HEAD.replace("listeners:", "  §${p}: {bundle: CERTS/partner.example.bundle.pem}\n"
                          "listeners:"),
        options=["--var", "p=partner.example"]),
    included("variables-in-an-included-file", [
        "§variables: {a: prod.example}\n"
        "rules: [{name: a, to: orders, from: §'spiffe://${a}/a'}]\n"],
        (ERROR, '"variables" stands in the main file only',
         "an included file holds `rules`, `groups`, `quarantine` and `tests`"),
        (ERROR, 'unknown variable "a"', "in `variables` of the main file")),
]

CHAIN = "groups:\n" + "".join(f"  g{i}: group:g{i + 1}\n" for i in range(31)) + \
    "  g31: §group:g32\n  g32: spiffe://prod.example/a\n"

GROUPS = [
    Row("group-unknown-with-a-near-one",
        "groups: {storefront: spiffe://prod.example/a}\n" + rule(
            "group:storefront\n      - §group:storefrnt"),
        (ERROR, 'rules[0].from[1]: unknown group "group:storefrnt"',
         'did you mean "group:storefront"?')),
    Row("group-unknown", rule("§group:storefront"),
        (ERROR, 'unknown group "group:storefront"', "groups are defined under `groups`")),
    Row("group-without-its-prefix", "groups: {§shop: spiffe://prod.example/a}\n" + rule("§shop"),
        (WARNING, "groups.shop:", "nobody uses it"),
        (ERROR, 'rules[0].from[0]: "shop": is a group\'s name', 'write "group:shop"')),
    Row("group-of-itself", "groups: {a: [§group:a]}\n" + rule("group:a"),
        (ERROR, "groups.a: goes round: a, a", "take one of them out")),
    Row("groups-that-go-round",
        "groups:\n  a: [group:b]\n  b: [group:c]\n  c: [§group:a, spiffe://prod.example/a]\n"
        + rule("group:b"),
        (ERROR, "groups.c: goes round: a, b, c, a", "take one of them out")),
    Row("groups-nested-too-deep", CHAIN + rule("group:g0"),
        (ERROR, "groups nest deeper", "than 32 levels")),
    Row("group-with-a-bad-name", "groups:\n  §Shop: spiffe://prod.example/a\n" + rule("group:Shop"),
        (ERROR, 'groups.Shop: "Shop" must be', "1 to 63 of a-z")),
    Row("group-with-a-bad-member", "groups: {shop: [§spiffe://prod.example/a*]}\n" + rule("group:shop"),
        (ERROR, 'groups.shop[0]: "spiffe://prod.example/a*"', "exactly one whole segment")),
    Row("group-empty", "groups: {shop: §[]}\n" + rule(
        "spiffe://prod.example/a\n      - group:shop"),
        (WARNING, "groups.shop: is empty", "it matches nobody")),
    Row("group-that-nobody-uses", "groups: {§shop: spiffe://prod.example/a}\n" + RULES,
        (WARNING, "groups.shop:", "nobody uses it")),
    Row("group-as-a-target", rule("spiffe://prod.example/a", "[orders, stock, §group:shop]"),
        (ERROR, 'unknown listener "group:shop"', "groups are of IDs, for `from`; name each listener")),
    included("group-in-two-files", [
        "groups: {§shop: spiffe://prod.example/a}\n"],
        (ERROR, "groups.shop: stands in", "bulkhead.yaml:12 already"),
        main="groups: {shop: spiffe://prod.example/b}\n" + rule("group:shop")),
    Row("group-with-a-map", "groups: {shop: §{members: [x]}}\n" + rule("group:shop"),
        (ERROR, "groups.shop: must be text or a list of texts", "not a map")),
]

INCLUDES = [
    Row("include-of-nothing", "include: §rules.d/*.yaml\n" + RULES,
        (WARNING, "include: no file matches", '"rules.d/*.yaml"')),
    Row("include-of-a-missing-file", "include: [§shop.yaml]\n" + RULES,
        (ERROR, "include: can't open", "shop.yaml\": No such file or directory")),
    Row("include-with-a-pattern-for-a-directory", "include: §'*/rules.yaml'\n" + RULES,
        (ERROR, "only the file's name may be a pattern", "name each directory in an entry of its own")),
    included("include-with-listeners", ["§listeners: []\n"],
             (ERROR, '"listeners" stands in the main file only', "an included file holds `rules`")),
    included("include-with-an-include", ["§include: x.yaml\n"],
             (ERROR, '"include" stands in the main file only', "an included file holds `rules`")),
    included("include-with-a-misspelt-key", ["§rule: []\n"],
             (ERROR, 'unknown key "rule"', 'did you mean "rules"?')),
    included("include-that-is-no-yaml", ["rules:\n§\t- name: x\n"],
             (ERROR, "a tab can't indent", "use spaces")),
    included("include-of-one-name-twice", [
        "rules: [{name: a, from: spiffe://prod.example/a, to: orders}]\n",
        "rules: [{name: §a, from: spiffe://prod.example/b, to: orders}]\n"],
        (ERROR, 'rules[0].name: the name "a" stands in', "0.yaml:1 already")),
    included("include-with-a-listener-of-others", [
        "rules: [{name: a, from: spiffe://prod.example/a, to: §billing}]\n"],
        (NOTE, "rules[0].to[0]: has no effect", 'there is no listener "billing" here')),
    included("include-with-a-deny-on-a-misspelt-listener", [
        "rules: [{name: a, action: deny, from: spiffe://prod.example/a, to: §stok}]\n"],
        (WARNING, 'rules[0].to[0]: denies nobody: there is no listener "stok" here',
         'did you mean "stock"?')),
    included("include-with-a-domain-of-others", [
        "rules: [{name: a, from: §spiffe://other.org/a, to: stock}]\n"],
        (NOTE, "never matches", '`trust` has no bundle for "other.org"')),
    included("include-with-a-deny-of-a-misspelt-domain", [
        "rules: [{name: a, action: deny, from: §spiffe://prod.exmaple/a, to: stock}]\n"],
        (WARNING, "never matches", 'did you mean "prod.example"?')),
    included("include-with-a-plaintext-target", [
        "rules: [{name: a, from: spiffe://prod.example/a, to: §out}]\n"],
        (ERROR, '"out" accepts plaintext', "use `expect` there")),
    included("include-with-a-test-of-others", [
        "tests: [{from: spiffe://prod.example/a, to: §billing, decision: deny}]\n"],
        (NOTE, "has no effect", "there is no listener")),
    included("include-with-a-test-of-a-misspelt-listener", [
        "tests: [{from: spiffe://prod.example/a, to: §stok, decision: deny}]\n"],
        (NOTE, "has no effect", 'did you mean "stock"?')),
]


MODES = [
    Row("mode-off", more("from: spiffe://prod.example/a, to: stock, mode: §off"),
        (ERROR, 'rules[1].mode: "off" must be', "enforce, shadow or disabled")),
    Row("mode-audit", more("from: spiffe://prod.example/a, to: stock, mode: §audit"),
        (ERROR, 'rules[1].mode: "audit" must be', "enforce, shadow or disabled")),
    Row("mode-as-a-boolean", more("from: spiffe://prod.example/a, to: stock, §shadow: true"),
        (ERROR, 'rules[1]: unknown key', '"shadow"')),
    Row("mode-misspelt", more("from: spiffe://prod.example/a, to: stock, §mod: shadow"),
        (ERROR, 'rules[1]: unknown key "mod"', 'did you mean "mode"?')),
    Row("action-misspelt", more("from: spiffe://prod.example/a, to: stock, action: §permit"),
        (ERROR, 'rules[1].action: "permit" must be', "allow or deny")),
    Row("only-shadow-rules",
        "rules: [{name: a, from: spiffe://prod.example/a, to: all, mode: shadow}]\n",
        (WARNING, 'listeners[0]: no rule allows anybody to use "orders"', "no rule allows"),
        (WARNING, 'listeners[1]: no rule allows anybody to use "stock"', "no rule allows"),
        head=HEAD.replace("name: orders", "name: §orders").replace("name: stock", "name: §stock")),
    Row("expires-in-days", more("from: spiffe://prod.example/a, to: stock, expires: §30d"),
        (ERROR, 'rules[1].expires: "30d" must be', "a date such as 2027-01-31")),
    Row("expires-the-european-way", 
        more("from: spiffe://prod.example/a, to: stock, expires: §31.1.2030"),
        (ERROR, '"31.1.2030" must be', "a date such as 2027-01-31")),
    Row("expires-on-no-day", more("from: spiffe://prod.example/a, to: stock, expires: §2030-02-29"),
        (ERROR, '"2030-02-29" must be', "a date such as 2027-01-31")),
    Row("expires-as-a-number", more("from: spiffe://prod.example/a, to: stock, expires: §1900000000"),
        (ERROR, '"1900000000" must be', "a time with its zone such as 2027-01-31T18:00:00Z")),
    Row("expires-without-a-zone",
        more("from: spiffe://prod.example/a, to: stock, expires: §2090-01-31T18:00:00"),
        (ERROR, "lacks its time zone", "write Z for UTC, or an offset such as +02:00")),
    Row("expires-never", more("from: spiffe://prod.example/a, to: stock, expires: §never"),
        (ERROR, '"never" must be', "a date such as 2027-01-31")),
    Row("expires-nothing", more("from: spiffe://prod.example/a, to: stock, expires: §"),
        (ERROR, "rules[1].expires: has no value", "write a date such as 2027-01-31")),
    Row("expired", more("from: spiffe://prod.example/a, to: stock, expires: §2020-01-31"),
        (WARNING, 'rule "more" has ended, at 2020-01-31T00:00:00Z', "take it out")),
    Row("expires-some-day", more("from: spiffe://prod.example/a, to: stock, expires: §2090-01-31"),
        (NOTE, 'rule "more" ends', "at 2090-01-31T00:00:00Z")),
    Row("enforcement-off", "enforcement: §off\n" + RULES,
        (ERROR, 'enforcement: "off" must be', "enforce or audit")),
    Row("enforcement-where-nothing-is-decided", RULES,
        (ERROR, "listeners[2].enforcement: nothing to soften: `accept` is plaintext",
         "take the key out"),
        head=HEAD.replace("sa/pay}", "sa/pay, enforcement: §audit}")),
    Row("note-on-several-lines",
        "rules:\n  - name: web\n    from: spiffe://prod.example/a\n    to: [orders, stock]\n"
        "    note: §|\n      one\n      two\n",
        (ERROR, "rules[0].note: must be one line", 'a text on several lines begins with ">-"')),
    Row("owner-nobody", more("from: spiffe://prod.example/a, to: stock, owner: §''"),
        (ERROR, "rules[1].owner: must not", "be empty")),
    Row("owners", more("from: spiffe://prod.example/a, to: stock, §owners: [a, b]"),
        (ERROR, 'unknown key "owners"', 'did you mean "owner"?')),
    Row("rule-without-a-name", RULES + "  - §{from: spiffe://prod.example/a, to: stock}\n",
        (ERROR, "rules[1]: required key", '"name" is missing')),
    Row("rule-without-targets", RULES + "  - §{name: more, from: spiffe://prod.example/a}\n",
        (ERROR, "rules[1]: required key", '"to" is missing')),
    Row("rule-from-nobody", more("from: §[], to: stock"),
        (WARNING, "rules[1].from: is empty", "the rule can never match")),
    Row("rule-to-everything", more("from: spiffe://prod.example/a, to: §'*'"),
        (ERROR, 'unknown listener "*"', "every listener is `all`")),
    Row("rule-to-an-id", more("from: spiffe://prod.example/a, to: §spiffe://prod.example/b"),
        (ERROR, 'unknown listener "spiffe://prod.example/b"',
         "IDs stand in `from`; name a listener of this file")),
    Row("rule-to-a-misspelt-listener", more("from: spiffe://prod.example/a, to: §stok"),
        (ERROR, 'unknown listener "stok"', 'did you mean "stock"?')),
    Row("rule-to-plaintext", more("from: spiffe://prod.example/a, to: §out"),
        (ERROR, '"out" accepts plaintext', "use `expect` there")),
    Row("rule-of-a-domain-without-a-bundle", more("from: §spiffe://prod.exmaple/a, to: stock"),
        (WARNING, "never matches", 'did you mean "prod.example"?')),
    Row("rule-of-a-whole-domain", more("from: §spiffe://prod.example/**, to: stock"),
        (WARNING, "admits every workload", "of the trust domain")),
    Row("rules-as-a-map", "rules:\n  §§web: {from: spiffe://prod.example/a, to: stock}\n",
        (ERROR, "rules: must be a list", 'each entry starts with "- "'),
        (WARNING, "rules: nothing is allowed", "there is no rule")),
    Row("rules-none", "rules: §[]\n",
        (WARNING, "rules: nothing is allowed", "there is no rule")),
]


def one_test(name, text, *messages, rules=RULES):
    return Row(f"test-{name}", f"{rules}tests:\n  - {{{text}}}\n", *messages)


WEB = "from: spiffe://prod.example/ns/shop/sa/web"

TESTS = [
    one_test("of-a-misspelt-listener", f"{WEB}, to: §ordrs, decision: allow",
             (ERROR, 'tests[0].to: unknown listener "ordrs"', 'did you mean "orders"?')),
    one_test("of-all", f"{WEB}, to: §all, decision: allow",
             (ERROR, 'tests[0].to: "all" is every listener', "write a test for each")),
    one_test("of-two-listeners", f"{WEB}, to: §[orders, stock], decision: allow",
             (ERROR, "tests[0].to: must be text", "not a list")),
    one_test("of-plaintext", f"{WEB}, to: §out, decision: allow",
             (ERROR, 'tests[0].to: "out" accepts plaintext', "name a listener that accepts mtls")),
    one_test("of-a-misspelt-rule", f"{WEB}, to: orders, decision: allow, rule: §wbe",
             (ERROR, 'tests[0].rule: unknown rule "wbe"', 'did you mean "web"?')),
    one_test("of-a-rule-of-nobody", f"{WEB}, to: orders, decision: allow, rule: §storefront",
             (ERROR, 'tests[0].rule: unknown rule "storefront"', "write the name of one under `rules`")),
    one_test("of-a-shadow-rule", f"{WEB}, to: orders, decision: allow, rule: §more",
             (ERROR, 'tests[0].rule: "more" decides nothing: its mode is `shadow`',
              "name a rule that is enforced"),
             rules=more("from: spiffe://prod.example/a, to: stock, mode: shadow")),
    one_test("of-a-rule-that-does-the-opposite", f"{WEB}, to: orders, decision: deny, rule: §web",
             (ERROR, 'the action of "web" is `allow`, and the test wants `deny`', "name another rule")),
    one_test("of-a-pattern", "from: §spiffe://prod.example/**, to: orders, decision: allow",
             (ERROR, 'tests[0].from: "spiffe://prod.example/**"', "write one SPIFFE ID in full")),
    one_test("of-a-group", "from: §group:web, to: orders, decision: allow",
             (ERROR, 'tests[0].from: "group:web"', "write one SPIFFE ID in full")),
    Row("test-without-a-decision", f"{RULES}tests:\n  - §{{{WEB}, to: orders}}\n",
        (ERROR, "tests[0]: required key", '"decision" is missing')),
    one_test("that-permits", f"{WEB}, to: orders, decision: §permit",
             (ERROR, 'tests[0].decision: "permit" must be', "allow or deny")),
    one_test("at-no-time", f"{WEB}, to: orders, decision: allow, at: §now",
             (ERROR, 'tests[0].at: "now" must be', "a date such as 2027-01-31")),
    Row("test-that-fails",
        RULES + "tests:\n"
        "  - §{from: spiffe://prod.example/ns/shop/sa/wob, to: orders, decision: allow}\n",
        (ERROR, "must be allowed, but is denied", 'nearest: rule "web" differs in segment 4')),
    Row("test-that-fails-by-being-allowed",
        f"{RULES}tests:\n  - §{{{WEB}, to: orders, decision: deny}}\n",
        (ERROR, "must be denied, but is allowed", 'rule "web" allows it')),
    one_test("by-another-rule", f"{WEB}, to: orders, decision: allow, rule: §more",
             (ERROR, 'must be allowed by rule "more", but another decided', 'rule "web" allows it'),
             rules=more("from: spiffe://prod.example/a, to: stock")),
    Row("test-after-the-rule-has-ended",
        more("from: spiffe://prod.example/a, to: stock, expires: §2090-01-31")
        + "tests:\n"
          "  - §{from: spiffe://prod.example/a, to: stock, decision: allow, at: 2095-01-01}\n",
        (NOTE, 'rule "more" ends', "at 2090-01-31T00:00:00Z"),
        (ERROR, "must be allowed, but is denied", 'rule "more" allowed it until 2090-01-31')),
    one_test("of-a-domain-without-a-bundle",
             "from: §spiffe://prod.exmaple/a, to: orders, decision: deny",
             (WARNING, "no peer has this ID", '`trust` has no bundle for "prod.exmaple"')),
]

DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def held(name, entry, *messages):
    return Row(f"quarantine-{name}", f"{RULES}quarantine:\n  - spiffe://prod.example/ok\n  - {entry}\n",
               *messages)


def listed(name, line, *messages):
    """The same in a file of its own."""
    return Row(f"quarantine-file-{name}", f"{RULES}quarantine_file: held\n", *messages,
               files={"held": f"# an incident\nspiffe://prod.example/ok\n{line}\n"})


QUARANTINES = [
    held("short-fingerprint", "§sha256:9f86d081",
         (ERROR, 'quarantine: "sha256:9f86d081": must be', "the 64 hexadecimal digits")),
    held("of-another-digest", f"§sha1:{DIGEST[:40]}",
         (ERROR, f'quarantine: "sha1:{DIGEST[:40]}"', 'a certificate is written as "sha256:"')),
    held("digits-alone", f"§{DIGEST}",
         (ERROR, f'quarantine: "{DIGEST}"', 'a certificate is written as "sha256:"')),
    held("of-a-group", "§group:shop",
         (ERROR, 'quarantine: "group:shop": a group has no place', "write its IDs and patterns")),
    held("without-the-scheme", "§prod.example/ns/wiki",
         (ERROR, 'quarantine: "prod.example/ns/wiki"', "write the ID in full")),
    held("part-of-a-segment", "§spiffe://prod.example/ns/wiki-*",
         (ERROR, 'quarantine: "spiffe://prod.example/ns/wiki-*"', "exactly one whole segment")),
    held("of-an-unknown-variable", "§spiffe://${prod}/ns/wiki",
         (ERROR, 'quarantine[1]: "spiffe://${prod}/ns/wiki": unknown variable', "--var prod=...")),
    held("of-a-domain-without-a-bundle", "§spiffe://prod.exmaple/ns/wiki",
         (WARNING, '`trust` has no "prod.exmaple"', "this entry holds nobody")),
    Row("quarantine-as-a-map", RULES + "quarantine: §{wiki: spiffe://prod.example/wiki}\n",
        (ERROR, "quarantine: must be text or a list of texts", "not a map")),
    listed("short-fingerprint", "§sha256:9f86d081",
           (ERROR, 'quarantine_file: "sha256:9f86d081": must be', "the 64 hexadecimal digits")),
    listed("with-a-word", "§wiki",
           (ERROR, 'quarantine_file: "wiki"', "write the ID in full")),
    listed("with-a-variable", "§spiffe://${prod}/wiki",
           (ERROR, "`$` is reserved", "write the trust domain itself")),
    listed("of-a-domain-without-a-bundle", "§spiffe://prod.exmaple/wiki",
           (WARNING, '`trust` has no "prod.exmaple"', "this entry holds nobody")),
    Row("quarantine-file-that-is-missing", RULES + "quarantine_file: §held\n",
        (ERROR, "quarantine_file: can't open", "No such file or directory")),
]

LINTS = [
    Row("rule-that-a-deny-stands-over",
        RULES + "  - §{name: more, from: spiffe://prod.example/ns/shop/sa/api, to: stock}\n"
        "  - {name: no-shop, action: deny, from: spiffe://prod.example/ns/shop/sa/api, to: all}\n",
        (WARNING, 'rules[1]: rule "more"', 'deny rule "no-shop"')),
    Row("rule-that-another-covers",
        RULES + "  - §{name: more, from: spiffe://prod.example/ns/shop/sa/web, to: stock}\n",
        (WARNING, 'rules[1]: rule "more" adds nothing', 'rule "web" (')),
    Row("rule-that-a-pattern-covers",
        RULES + "  - §{name: more, from: spiffe://prod.example/ns/api/sa/a, to: stock}\n"
        "  - {name: apis, from: spiffe://prod.example/ns/api/*/*, to: [stock, orders]}\n",
        (WARNING, 'rules[1]: rule "more" adds nothing', 'rule "apis" (')),
    Row("shadow-deny-of-nobody",
        RULES + "  - §{name: no, action: deny, mode: shadow, to: stock, from: "
        "spiffe://prod.example/ns/api/a}\n",
        (WARNING, 'rules[1]: rule "no"', "no rule lets them in")),
    Row("id-one-letter-away",
        RULES + "  - name: more\n    to: stock\n    from:\n"
        "      - spiffe://prod.example/ns/shop/sa/payments\n"
        "      - §spiffe://prod.example/ns/shop/sa/paymemts\n",
        (WARNING, "is one letter away from", "is one of them a slip?")),
    Row("group-of-a-whole-domain",
        "groups: {all: [§spiffe://partner.example/**]}\n" + more("from: group:all, to: stock"),
        (WARNING, 'groups.all[0]: "spiffe://partner.example/**" admits every workload',
         "of the trust domain")),
]

ROWS = [*PATTERNS, *VARIABLES, *GROUPS, *INCLUDES, *MODES, *TESTS, *QUARANTINES, *LINTS]


def take_marks(files):
    """Without the marks, and where they stood: (file, line, column), the main file first."""
    clean, places = {}, []
    for name, text in files.items():
        while "§" in text:
            before, text = text.split("§", 1)
            places.append((name, before.count("\n") + 1, len(before) - before.rfind("\n")))
            text = before + text
        clean[name] = text
    return clean, places


def check(tmp_path, certs, row, *options):
    files, places = take_marks(row.files)
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text.replace("CERTS", str(certs)))
    result = run_command("check", "-c", tmp_path / "bulkhead.yaml", *row.options, *options)
    return result, places


def parse(line, base):
    """(file, line, column, severity, message) of "FILE:LINE:COLUMN: error: MESSAGE"."""
    place, severity, message = line.split(": ", 2)
    name, *numbers = place.removeprefix(f"{base}/").split(":")
    row, column = [int(number) for number in numbers] or (0, 0)
    return name, row, column, severity, message


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_each_message_points_and_says_what_would_be_right(tmp_path, credentials, row):
    result, places = check(tmp_path, credentials.directory, row)
    told = [parse(line, tmp_path) for line in result.stderr.splitlines()]
    assert len(told) == len(row.messages), result.stderr
    places += [("bulkhead.yaml", 0, 0)] * (len(row.messages) - len(places))
    for (name, line, column, severity, message), place, wanted in zip(told, places, row.messages):
        assert (name, line, column) == place, result.stderr
        assert severity == wanted[0] and wanted[1] in message and wanted[2] in message, message
    has_errors = any(wanted[0] == ERROR for wanted in row.messages)
    assert result.returncode == (2 if has_errors else 0)


def test_there_are_enough_rows():
    assert len(ROWS) >= 60 and len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        for severity, wrong, right in row.messages:
            assert wrong and right, row.name


def by_name(name):
    return next(row for row in ROWS if row.name == name)


@pytest.mark.parametrize("name, severity", [
    ("variable-unknown-with-a-near-one", ERROR), ("test-that-fails", ERROR),
    ("variable-of-the-command-line-unused", WARNING), ("rule-of-a-whole-domain", WARNING),
    ("include-with-a-deny-on-a-misspelt-listener", WARNING),
    ("include-with-a-listener-of-others", NOTE), ("expires-some-day", NOTE),
])
def test_json_says_the_same_at_the_same_place(tmp_path, credentials, name, severity):
    row = by_name(name)
    result, places = check(tmp_path, credentials.directory, row, "--json")
    answer = json.loads(result.stdout)
    assert result.stderr == "" and answer["valid"] is (severity != ERROR)
    told, = answer[f"{severity}s"]
    place, = places or [("bulkhead.yaml", 0, 0)]
    assert (told["file"], told["line"], told["column"]) == (str(tmp_path / place[0]), *place[1:])
    _, wrong, right = row.messages[-1]
    assert wrong in told["message"] and right in told["message"]
    others = {ERROR, WARNING, NOTE} - {severity}
    assert all(answer[f"{other}s"] == [] for other in others)


@pytest.mark.parametrize("row", [row for row in ROWS if row.messages[0][0] != ERROR],
                         ids=lambda row: row.name)
def test_strict_refuses_what_is_doubtful_and_not_what_is_noted(tmp_path, credentials, row):
    result, _ = check(tmp_path, credentials.directory, row, "--strict")
    doubtful = any(severity != NOTE for severity, _, _ in row.messages)
    assert result.returncode == (2 if doubtful else 0), result.stdout


def test_a_good_folder_has_nothing_to_say(tmp_path, credentials):
    """The rows differ from it by what they are about."""
    row = included("good", [
        "groups: {shop: ['spiffe://${prod}/ns/shop/sa/*', 'group:mobile'], mobile: "
        "'spiffe://${prod}/ns/mobile/**'}\n"
        "rules:\n"
        "  - {name: shop, from: 'group:shop', to: stock, owner: shop-team, note: the old one}\n"
        "  - {name: try, from: 'spiffe://${prod}/ns/try/*', to: all, mode: shadow}\n"
        "  - {name: not, from: 'spiffe://${prod}/ns/not/*', to: all, mode: disabled}\n"
        "tests:\n"
        "  - {from: 'spiffe://${prod}/ns/mobile/a/b', to: stock, decision: allow, rule: shop}\n"
        "  - {from: 'spiffe://${prod}/ns/try/a', to: stock, decision: deny, at: 2050-01-01}\n"],
        main="variables: {prod: stage.example}\n" + RULES)
    row.options = ["--var", "prod=prod.example"]
    result, _ = check(tmp_path, credentials.directory, row, "--strict")
    assert (result.returncode, result.stderr) == (0, "")
