#!/usr/bin/python3
"""bulkhead.yaml(5) from config/REFERENCE.md, which is itself made from the key tables.

    tests/tools/manual_page.py config/REFERENCE.md config/sidecar.yaml > config/man/bulkhead.yaml.5

Knows of Markdown what the reference uses: headings, tables of five columns, lists, `code`, **bold**, *italic*.
"""

import re
import sys

HEAD = r""".\" Made from the key tables of the program by `make reference`; do not edit.
.Dd November 30, 2026
.Dt BULKHEAD.YAML 5
.Os
.Sh NAME
.Nm bulkhead.yaml
.Nd configuration of bulkhead
.Sh DESCRIPTION
One YAML file says who
.Xr bulkhead 1
is, whose certificates count, where it listens and forwards to, and who may use
what.
The kind of a listener follows from its two addresses: mtls to tcp terminates,
tcp to mtls originates, mtls to mtls bridges; tcp to tcp is refused.
What no rule allows is refused, and a rule with
.Ql action: deny
wins wherever it stands.
.Pp
.Ql bulkhead check
says everything that is wrong in a file, each with line and column.
"""

TAIL = r""".Sh SEE ALSO
.Xr bulkhead 1
"""


def escaped(text):
    """Plain text for roff: its escape character, and the signs that a terminal would get as others."""
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq").replace("^", r"\(ha")


def inline(text):
    """`code` and **bold** in bold, *italic* underlined; a stray dot can't become a request."""
    out = []
    for part in re.split(r"(`[^`]+`|\*\*[^*`]+\*\*|\*[^* `][^*`]*\*)", text.strip()):
        if part.startswith("`") or part.startswith("**"):
            out.append(r"\fB" + escaped(part.strip("`" if part[0] == "`" else "*")) + r"\fP")
        elif part.startswith("*") and len(part) > 2:
            out.append(r"\fI" + escaped(part.strip("*")) + r"\fP")
        else:
            out.append(escaped(part))
    made = "".join(out)
    return r"\&" + made if made[:1] in (".", "'") else made


def sentences(text):
    """Each sentence begins a line, as roff wants it."""
    return "\n".join(inline(part) for part in re.split(r"(?<=[\w`)][.]) (?=[A-Z`])", text.strip()))


def cells(row):
    """A bar inside `code` would be written \\|."""
    return [cell.replace("\\|", "|").strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]


def key(row):
    name, value, default, fixed, meaning = cells(row)
    facts = [value] if value else []
    if default:
        facts.append(default.strip("*") if default == "**required**" else f"default: {default}")
    if fixed:
        facts.append("fixed")
    yield f".It Cm {escaped(name.strip('`'))}"
    yield sentences(meaning)
    if facts:
        yield ".br"
        yield inline("(" + "; ".join(facts) + ")")


def bullets(lines):
    """A list whose items begin with a bold word: those become its tags."""
    items = re.split(r"^\* ", "\n".join(lines), flags=re.M)[1:]
    yield ".Bl -tag -width Ds"
    for item in items:
        text = " ".join(item.split())
        tag = re.match(r"\*\*(.+?)\*\*: (.*)", text)
        if tag:
            yield f".It Sy {escaped(tag.group(1))}"
            yield sentences(tag.group(2))
        else:
            yield ".El"
            yield ".Pp"
            yield sentences(text)
            yield ".Bl -tag -width Ds"
    yield ".El"


def introduction(text):
    """What stands before the first table: paragraphs, and the list of kinds of values."""
    for block in re.split(r"\n\n+", text.strip()):
        lines = block.splitlines()
        if lines[0].startswith("# ") or lines[0].startswith("Made from"):
            lines = [line for line in lines[1:] if not line.startswith("# ")]
        if not lines:
            continue
        if lines == ["Values"]:
            yield ".Sh VALUES"
        elif lines[0].startswith("* "):
            yield from bullets(lines)
        else:
            yield ".Pp"
            yield sentences(" ".join(lines))


def section(text):
    """One table, under its title."""
    title, _, body = text.partition("\n")
    yield f".Ss {escaped(title.strip())}"
    rows = [line for line in body.splitlines() if line.startswith("|")][2:]
    prose = [line for line in body.splitlines() if line.strip() and not line.startswith("|")]
    if prose:
        yield sentences(" ".join(prose))
    yield ".Bl -tag -width Ds"
    for row in rows:
        yield from key(row)
    yield ".El"


def tidy(lines):
    """No empty list, and no paragraph right after a heading."""
    text = "\n".join(lines) + "\n"
    text = text.replace(".Bl -tag -width Ds\n.El\n", "")
    return re.sub(r"^(\.S[hs] .*\n)\.Pp\n", r"\1", text, flags=re.M)


def page(reference, example):
    first, *sections = re.split(r"^## ", reference, flags=re.M)
    lines = list(introduction(first))
    lines.append(".Sh KEYS")
    for text in sections:
        lines.extend(section(text))
    lines += [".Sh EXAMPLES", ".Bd -literal"]
    lines += [r"\&" + escaped(line) if line[:1] in (".", "'") else escaped(line)
              for line in example.rstrip("\n").splitlines()]
    lines.append(".Ed")
    return HEAD + tidy(lines) + TAIL


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: manual_page.py REFERENCE.md EXAMPLE.yaml")
    with open(sys.argv[1]) as reference, open(sys.argv[2]) as example:
        sys.stdout.write(page(reference.read(), example.read()))


if __name__ == "__main__":
    main()
