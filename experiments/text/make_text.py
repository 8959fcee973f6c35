"""``python experiments/text/make_text.py``: read ``bible.txt.xz`` from Debian's packages bible-kjv and bible-kjv-text.

    apt-get install bible-kjv

One verse a line; the verses' names (``Ge1:1``) are left out. The same packages give the same bytes, as the digest says
that :mod:`experiments.shared.text` compares.
"""

import hashlib
import lzma
import re
import subprocess
from pathlib import Path

WHOLE = "gen1:1-rev22:21"
FILE = Path(__file__).parent / "bible.txt.xz"


def main() -> None:
    command = ["bible", "-f", "-l100000", WHOLE]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    text = re.sub(r"^\w+:\d+ ", "", printed, flags=re.MULTILINE).encode("ascii")
    FILE.write_bytes(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    print(f"{len(text):,} bytes, {len(text.splitlines()):,} verses, sha256 {hashlib.sha256(text).hexdigest()}")


if __name__ == "__main__":
    main()
