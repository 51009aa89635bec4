#!/usr/bin/python3
"""Checks every #include in src/ and include/ against the table in src/layers.txt.

Prints one line per wrong include (file:line: what, and what would be right) and exits 1
when there is any.
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TABLE = ROOT / "src" / "layers.txt"

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')
OTHER_INCLUDE = re.compile(r"^\s*#\s*include\b")

# src/main.c stands above all areas and hands over to the command line.
MAIN_AREAS = ["base", "cli"]

# Which header belongs to which library; the first pattern that matches the whole name counts.
LIBRARIES = [
    ("libevent", r"event2/.*|event\.h|ev[a-z]*\.h"),
    ("libcares", r"ares(_\w+)?\.h"),
    ("libyaml", r"yaml\.h"),
    ("libnghttp2", r"nghttp2/.*\.h"),
    ("jansson", r"jansson.*\.h"),
    ("libssl", r"openssl/(ssl\d?|sslerr\w*|tls1|dtls1|srtp|quic)\.h"),
    ("libcrypto", r"openssl/.*"),
    ("libc", r"(sys|linux|net|netinet|arpa|asm)/[\w/]+\.h"),
    (
        "libc",
        r"(assert|complex|ctype|dirent|dlfcn|endian|errno|fcntl|fnmatch|getopt|glob|grp|inttypes"
        r"|limits|locale|malloc|math|netdb|poll|pthread|pwd|sched|setjmp|signal|stdalign|stdarg"
        r"|stdatomic|stdbool|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|syslog|threads"
        r"|time|ucontext|unistd|wchar)\.h",
    ),
]


def library_of(header):
    for library, pattern in LIBRARIES:
        if re.fullmatch(pattern, header):
            return library
    return None


class Layer:
    """One row of the table."""

    def __init__(self, name, areas, libraries):
        self.name = name
        self.areas = sorted(set(areas) | {name})
        self.libraries = [library.rstrip("*") for library in libraries]
        self.home_of = ["libc"] + [l.rstrip("*") for l in libraries if l.endswith("*")]


def read_table():
    layers = {}
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        match = re.fullmatch(r"(\w+):([^|]*)\|(.*)", line)
        if not match:
            sys.exit(f"src/layers.txt:{number}: must be `area: areas | libraries`")
        name, areas, libraries = match.groups()
        layers[name] = Layer(name, areas.split(), libraries.split())
    for layer in layers.values():
        for area in layer.areas:
            if area not in layers:
                sys.exit(f"src/layers.txt: {layer.name} may include {area}, which has no row")
    return layers


def allowed_libraries(layer, path):
    if path.startswith("include/"):
        return [library for library in layer.libraries if library in layer.home_of]
    return layer.libraries


def check_library(layer, path, header):
    library = library_of(header)
    allowed = allowed_libraries(layer, path)
    if library is None:
        return f"<{header}> belongs to no known library; name it in tests/layers.py and src/layers.txt"
    if library in allowed:
        return None
    if path.startswith("include/") and library in layer.libraries:
        return (
            f"<{header}>: {library} may be used in src/{layer.name}/ only; its headers stay out of"
            f" include/{layer.name}/ (forward-declare the struct)"
        )
    return f"<{header}>: {layer.name} may not use {library} (it may use: {', '.join(allowed)})"


def check_project(layer, path, header, layers):
    if "/" not in header:
        if (ROOT / path).parent.joinpath(header).is_file():
            return None
        return f'"{header}" is not beside this file: write "area/name.h"'
    area = header.split("/")[0]
    if not (ROOT / "include" / header).is_file():
        return f'"{header}": no such file in include/'
    if area not in layers:
        return f'"{header}": {area} has no row in src/layers.txt'
    if area not in layer.areas:
        return f'"{header}": {layer.name} may not include {area} (it may include: {", ".join(layer.areas)})'
    return None


def check_line(layer, path, line, layers):
    match = INCLUDE.match(line)
    if match:
        project, library = match.groups()
        if project:
            return check_project(layer, path, project, layers)
        return check_library(layer, path, library)
    if OTHER_INCLUDE.match(line):
        return 'include a header by its name: "area/name.h" or <name.h>'
    return None


def layer_of(path, layers):
    if path == "src/main.c":
        return Layer("main", MAIN_AREAS, ["libc"])
    return layers.get(path.split("/")[1])


def main():
    layers = read_table()
    files = sorted(
        path.relative_to(ROOT).as_posix()
        for top in ("src", "include")
        for path in (ROOT / top).rglob("*")
        if path.suffix in (".c", ".h", ".def")
    )
    wrong = includes = 0
    for path in files:
        layer = layer_of(path, layers)
        if layer is None:
            print(f"{path}:1: the area has no row in src/layers.txt")
            wrong += 1
            continue
        for number, line in enumerate((ROOT / path).read_text().splitlines(), 1):
            includes += bool(OTHER_INCLUDE.match(line))
            problem = check_line(layer, path, line, layers)
            if problem:
                print(f"{path}:{number}: {problem}")
                wrong += 1
    if not files:
        sys.exit("no file found in src/ and include/")
    print(f"layers: {len(files)} files, {includes} includes, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
