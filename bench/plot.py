"""SVG by hand: three pictures that a person reads at a glance, in light and in dark.

Text and axes are of one grey that stands out on white and on black; the colours are Okabe and Ito's,
which colour-blind people tell apart, and each peer has a shape of its own besides.
"""

import math
from xml.sax.saxutils import escape

GREY = "#7a7f87"
STYLES = {  # colour, shape
    "bulkhead": ("#d55e00", "circle"),
    "haproxy": ("#0072b2", "square"),
    "haproxy-nt": ("#0072b2", "hollow square"),
    "nginx": ("#009e73", "triangle"),
    "nginx-nt": ("#009e73", "hollow triangle"),
    "hitch": ("#cc79a7", "diamond"),
    "stunnel": ("#e69f00", "cross"),
    "envoy": ("#56b4e9", "plus"),
    "ghostunnel": ("#8c6bb1", "hollow diamond"),
    "bare relay": (GREY, "bar"),
    "floor": (GREY, "bar"),
}
WIDTH = 900


def number(value):
    """Short, as on an axis."""
    if value >= 1e6:
        return f"{value / 1e6:g}M"
    if value >= 1e3:
        return f"{value / 1e3:g}k"
    return f"{value:g}"


class Drawing:
    def __init__(self, width, height, title):
        self.width, self.height = width, height
        self.parts = [f"<title>{escape(title)}</title>"]

    def add(self, name, text=None, **attributes):
        words = " ".join(f'{key.replace("_", "-")}="{escape(fmt(value))}"'
                         for key, value in attributes.items())
        self.parts.append(f"<{name} {words}/>" if text is None
                          else f"<{name} {words}>{escape(text)}</{name}>")

    def text(self, x, y, text, size=13, anchor="start", weight="normal", fill=GREY, **more):
        self.add("text", text, x=x, y=y, font_size=size, text_anchor=anchor, font_weight=weight,
                 fill=fill, **more)

    def line(self, x1, y1, x2, y2, width=1.0, colour=GREY, **more):
        self.add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, **more)

    def mark(self, x, y, peer, size=5.5, title=None):
        colour, shape = STYLES.get(peer, (GREY, "circle"))
        hollow = shape.startswith("hollow")
        paint = {"fill": "none" if hollow else colour, "stroke": colour, "stroke_width": 2}
        shape = shape.removeprefix("hollow ")
        self.parts.append("<g>")
        if title:
            self.parts.append(f"<title>{escape(title)}</title>")
        if shape == "circle":
            self.add("circle", cx=x, cy=y, r=size + 1.5, **paint)
        elif shape == "square":
            self.add("rect", x=x - size, y=y - size, width=2 * size, height=2 * size, **paint)
        elif shape == "bar":
            self.line(x, y - size - 4, x, y + size + 4, 3, colour)
        elif shape in ("cross", "plus"):
            turn = {"transform": f"rotate(45 {fmt(x)} {fmt(y)})"} if shape == "cross" else {}
            self.line(x - size - 1, y, x + size + 1, y, 2.5, colour, **turn)
            self.line(x, y - size - 1, x, y + size + 1, 2.5, colour, **turn)
        else:
            corners = {"triangle": ((0, -1.2), (1.1, 0.9), (-1.1, 0.9)),
                       "diamond": ((0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0))}[shape]
            points = " ".join(f"{fmt(x + size * dx)},{fmt(y + size * dy)}" for dx, dy in corners)
            self.add("polygon", points=points, **paint)
        self.parts.append("</g>")

    def path(self, points, peer, width=None):
        colour = STYLES.get(peer, (GREY,))[0]
        dashes = "6 4" if colour == GREY else "2 3" if peer.endswith("-nt") else ""
        dash = {"stroke_dasharray": dashes} if dashes else {}
        places = " L".join(f"{fmt(x)} {fmt(y)}" for x, y in points)
        self.add("path", d=f"M{places}", fill="none", stroke=colour,
                 stroke_width=width or (3 if peer == "bulkhead" else 1.8), **dash)

    def legend(self, x, y, peers):
        """In lines as wide as the drawing; returns where it ends."""
        at = x
        for peer in peers:
            wide = 34 + 8.0 * len(peer)
            if at + wide > self.width - 20:
                at, y = x, y + 22
            self.mark(at + 6, y - 4, peer)
            self.text(at + 18, y, peer, weight="bold" if peer == "bulkhead" else "normal")
            at += wide
        return y

    def caption(self, y, lines):
        for text in lines:
            for piece in wrapped(text, 132):
                self.text(20, y, piece, size=11.5)
                y += 16

    def svg(self):
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                f'width="{self.width}" height="{self.height}" role="img" '
                'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def fmt(value):
    return f"{value:.1f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def wrapped(text, width):
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    return lines + [line]


def caption_height(lines):
    return 16 * sum(len(wrapped(line, 132)) for line in lines)


class LogScale:
    def __init__(self, low, high, start, end):
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value):
        value = min(max(value, self.low), self.high)
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self, steps=(1, 2, 5)):
        exponent = math.floor(math.log10(self.low))
        while 10.0 ** exponent <= self.high:
            for step in steps:
                value = step * 10.0 ** exponent
                if self.low * 0.999 <= value <= self.high * 1.001:
                    yield value
            exponent += 1


def ratio_plot(rows, peers, caption):
    """rows: [(label, {peer: ratio}), ...]; a "floor" may be among the peers."""
    height_of_row, left, right, top = 30, 292, WIDTH - 30, 112
    bottom = top + height_of_row * len(rows)
    drawing = Drawing(WIDTH, bottom + 62 + caption_height(caption),
                      "Cost per unit of work, as ratio to the best other proxy on OpenSSL")
    drawing.text(20, 28, "Cost per unit of work, as ratio to the best other proxy on OpenSSL", 18,
                 weight="bold")
    drawing.text(20, 48, "CPU time of the proxy, or its memory. Left of the line at 1: better than "
                 "every other one on the same OpenSSL. From 4 on at the edge.", 12)
    drawing.legend(20, 74, peers)
    scale = LogScale(0.2, 4.0, left, right)
    for value in (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0):
        x = scale(value)
        drawing.line(x, top - 6, x, bottom, 2 if value == 1 else 1,
                     stroke_opacity=0.9 if value == 1 else 0.3)
        drawing.text(x, bottom + 18, f"{value:g}", 12, "middle")
    drawing.text((left + right) / 2, bottom + 38, "ratio to the best other proxy on OpenSSL (logarithmic)", 12,
                 "middle")
    for place, (label, ratios) in enumerate(rows):
        y = top + height_of_row * (place + 0.5)
        if place and label.partition(":")[0] != rows[place - 1][0].partition(":")[0]:
            drawing.line(20, y - height_of_row / 2, right, y - height_of_row / 2, 1.5,
                         stroke_opacity=0.6)
        drawing.text(left - 14, y + 4, label, 12.5, "end")
        drawing.line(left, y, right, y, 1, stroke_opacity=0.2)
        for peer in reversed(peers):  # ours last, so on top
            if ratios.get(peer) is not None:
                drawing.mark(scale(ratios[peer]), y, peer,
                             title=f"{peer}, {label}: {ratios[peer]:.2f}")
    drawing.caption(bottom + 62, caption)
    return drawing.svg()


def scaling_plot(series, caption, unit="µs of the proxy's CPU per 64 B round trip"):
    """series: {peer: [(connections, cost), ...]}."""
    left, right, top, bottom = 70, WIDTH - 30, 100, 400
    drawing = Drawing(WIDTH, bottom + 70 + caption_height(caption),
                      "CPU per round trip against the number of connections")
    drawing.text(20, 28, "CPU per round trip against the number of connections", 18, weight="bold")
    drawing.text(20, 48, "flat is good: a connection more costs nothing that was not its own", 12)
    drawing.legend(20, 74, list(series))
    points = [point for values in series.values() for point in values]
    most_x = max((x for x, _ in points), default=10)
    most_y = 1.15 * max((y for _, y in points), default=1.0)
    scale = LogScale(min((x for x, _ in points), default=1), max(most_x, 2), left, right)
    step = nice_step(most_y / 6)
    for place in range(int(most_y / step) + 1):
        y = bottom - (bottom - top) * place * step / most_y
        drawing.line(left, y, right, y, stroke_opacity=0.25)
        drawing.text(left - 8, y + 4, f"{place * step:g}", 12, "end")
    for x in sorted({x for x, _ in points}):
        drawing.line(scale(x), top, scale(x), bottom + 5, stroke_opacity=0.25)
        drawing.text(scale(x), bottom + 20, f"{x:,}", 12, "middle")
    drawing.text((left + right) / 2, bottom + 42, "connections (logarithmic)", 12, "middle")
    drawing.text(20, top - 6, unit, 12)
    for peer in reversed(series):
        places = [(scale(x), bottom - (bottom - top) * y / most_y) for x, y in series[peer]]
        drawing.path(places, peer)
        for (x, y), (count, value) in zip(places, series[peer]):
            drawing.mark(x, y, peer, title=f"{peer}, {count:,} connections: {value:.2f} µs")
    drawing.caption(bottom + 70, caption)
    return drawing.svg()


def nice_step(wanted):
    """1, 2 or 5 times a power of ten, the least that is not below."""
    power = 10.0 ** math.floor(math.log10(wanted))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= wanted * 0.999)


def slower_than(histogram, least):
    """[(µs, share that took longer), ...] of [[upper_us, count], ...], down to the least share."""
    total = sum(count for _, count in histogram)
    left, points = total, []
    for upper, count in histogram:
        left -= count
        points.append((upper, left / total))
        if left / total < least:
            break
    return points


def latency_plot(panels, caption):
    """panels: [(title, {peer: histogram}), ...], side by side."""
    least_share, top, bottom = 0.0005, 120, 400
    drawing = Drawing(WIDTH, bottom + 66 + caption_height(caption), "Latency")
    drawing.text(20, 28, "Latency: the share that took longer than a time", 18, weight="bold")
    drawing.text(20, 48, "further left and lower is better; the machine's two cores are both busy, "
                 "so this compares and does not promise", 12)
    peers = list(dict.fromkeys(peer for _, histograms in panels for peer in histograms))
    drawing.legend(20, 74, peers)
    wide = (WIDTH - 60) / max(len(panels), 1)
    vertical = LogScale(least_share, 1.0, bottom, top)
    for place, (title, histograms) in enumerate(panels):
        left = 64 + place * wide
        right = left + wide - 56
        curves = {peer: slower_than(histogram, least_share) for peer, histogram in histograms.items()}
        inner = [x for curve in curves.values() for x, share in curve if least_share < share < 1]
        scale = LogScale(min(inner, default=1) * 0.8, max(inner, default=10) * 1.2 + 1, left, right)
        drawing.text(left, top - 12, title, 13, weight="bold")
        for share, label in ((1, "all"), (0.5, "50 %"), (0.1, "10 %"), (0.01, "1 %"),
                             (0.001, "0.1 %")):
            drawing.line(left, vertical(share), right, vertical(share), stroke_opacity=0.25)
            drawing.text(left - 6, vertical(share) + 4, label, 11.5, "end")
        for tick in scale.ticks():
            drawing.line(scale(tick), top, scale(tick), bottom, stroke_opacity=0.2)
            drawing.text(scale(tick), bottom + 18, number(tick), 11.5, "middle")
        drawing.text((left + right) / 2, bottom + 38, "µs (logarithmic)", 12, "middle")
        for peer in reversed(peers):
            if peer in curves:
                drawing.path([(scale(x), vertical(share)) for x, share in curves[peer]
                              if x >= scale.low], peer)
    drawing.caption(bottom + 66, caption)
    return drawing.svg()
