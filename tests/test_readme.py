"""What the README says that the two commands print. Its examples are run with those of the other pages."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.blocks import difference

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_demo_prints_what_the_readme_shows():
    said = re.findall(r"^```text\n(.*?)^```$", README, flags=re.MULTILINE | re.DOTALL)[0]
    demo = [sys.executable, "-c", "from llama_cloud_chat.cli import main; main()", "demo"]
    result = subprocess.run(demo, capture_output=True, text=True, timeout=110, check=True)
    assert difference(said, result.stdout) is None
