import subprocess
import sys
from pathlib import Path

import vostool.media


def test_media_needs_neither_torch_nor_opencv() -> None:
    modules = sorted(path.stem for path in Path(vostool.media.__file__).parent.glob("*.py"))
    imports = "".join(f"import vostool.media.{module};" for module in modules)
    check = "import sys; sys.exit(bool({'torch', 'cv2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", imports + check], check=True)
