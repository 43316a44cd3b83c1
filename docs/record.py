"""Types the commands of a session, and draws the terminal as an SVG.   record.py SESSION PICTURE

The first line of SESSION is a comment. Each line after it begins with what to do: `$` runs a command and shows what it prints,
`#` shows a remark, `~` waits so many seconds. The lines of the picture appear as fast as they came; a viewer without animation
shows all of them.
A command that fails ends the recording.
"""

import subprocess
import sys
import time
from html import escape

COLUMNS = 116
TYPING = 0.03  # seconds a character
READING = 0.9  # seconds after a command's output
CHAR, LINE, LEFT, TOP = 7.8, 19, 16, 44


def record(session):
    """Lines as (seconds since the start, kind, text)."""
    now, lines = 0.3, []
    for step in session:
        what, rest = step[0], step[2:]
        if what == "~":
            time.sleep(float(rest))
            now += min(float(rest), 1.0)
            continue
        if what == "#":
            lines += [(now, "", ""), (now, "remark", "# " + rest)]
            now += READING
            continue
        lines.append((now, "command", "$ " + rest))
        now += TYPING * len(rest)
        began = time.monotonic()
        done = subprocess.Popen(["bash", "-c", "set -o pipefail; " + rest], stdout=subprocess.PIPE, text=True)
        for line in done.stdout:
            lines.append((now + time.monotonic() - began, "", line.rstrip()))
        if done.wait() != 0:
            sys.exit(f"record.py: `{rest}` failed with {done.returncode}")
        now += time.monotonic() - began + READING
    return lines


def draw(lines):
    """The picture. Each line fades in when its time has come, once."""
    too_long = [text for _, _, text in lines if len(text) > COLUMNS]
    if too_long:
        sys.exit(f"record.py: longer than {COLUMNS} columns: {too_long[0]}")
    width, height = round(2 * LEFT + CHAR * COLUMNS), TOP + LINE * len(lines) + 10
    rows = []
    for number, (at, kind, text) in enumerate(lines):
        if text:
            rows.append(
                f'<text x="{LEFT}" y="{TOP + LINE * (number + 1) - 6}" class="line {kind}" xml:space="preserve" '
                f'style="animation-delay:{at:.2f}s">{escape(text)}</text>'
            )
    size = f'width="{width}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" role="img">
<title>A terminal session with boardkeeper, recorded by docs/record.sh</title>
<style>
.line {{ font: 13px ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d4d4d4; white-space: pre;
  animation: come .1s both }}
.command {{ fill: #ffffff; font-weight: 600 }}
.remark {{ fill: #7ec699 }}
@keyframes come {{ from {{ opacity: 0 }} }}
@media (prefers-reduced-motion: reduce) {{ .line {{ animation: none }} }}
</style>
<rect {size} rx="8" fill="#1e1e1e"/>
<g fill="#5a5a5a"><circle cx="20" cy="20" r="6"/><circle cx="40" cy="20" r="6"/><circle cx="60" cy="20" r="6"/></g>
{chr(10).join(rows)}
</svg>
"""


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        steps = [line.rstrip("\n") for line in file][1:]
    recorded = record(steps)
    with open(sys.argv[2], "w") as file:
        file.write(draw(recorded))
    print("\n".join(text for _, _, text in recorded))
