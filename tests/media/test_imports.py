import subprocess
import sys


def test_media_needs_neither_torch_nor_opencv() -> None:
    modules = ["folder", "frame", "labels", "masks", "overlay", "picture", "video", "writer"]
    imports = "".join(f"import vostool.media.{module};" for module in modules)
    check = "import sys; sys.exit(bool({'torch', 'cv2'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", imports + check], check=True)
